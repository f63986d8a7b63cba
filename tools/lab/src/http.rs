//! A tiny HTTP server on loopback that serves one deterministic file.

use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Size of the payload: 8 MiB.
pub const PAYLOAD_BYTES: usize = 8 << 20;

/// Most clients served at once.
const MOST_CLIENTS: usize = 8;

/// Bytes of the payload: a xorshift64* sequence, the same in every run, so that its
/// hash can stand in a guest's ramdisk before the server exists.
pub fn payload() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(PAYLOAD_BYTES);
    while bytes.len() < PAYLOAD_BYTES {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes
}

/// Serves [`payload`] at every path of http://127.0.0.1:port/ until dropped. Behind
/// QEMU's user network a guest finds it at 10.0.2.2.
#[derive(Debug)]
pub struct PayloadServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicUsize>,
    acceptor: Option<JoinHandle<()>>,
}

impl PayloadServer {
    /// Starts at a free port.
    ///
    /// # Errors
    /// The system gives no port.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on 127.0.0.1")?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let requests = Arc::new(AtomicUsize::new(0));
        let acceptor = std::thread::spawn({
            let (stop, requests) = (stop.clone(), requests.clone());
            move || accept(&listener, &stop, &requests)
        });
        Ok(Self { address, stop, requests, acceptor: Some(acceptor) })
    }

    /// TCP port on loopback.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many files were served whole.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for PayloadServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the acceptor out of accept().
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, stop: &AtomicBool, requests: &Arc<AtomicUsize>) {
    let payload = Arc::new(payload());
    let clients = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let Ok(stream) = stream else { continue };
        if clients.load(Ordering::Relaxed) >= MOST_CLIENTS {
            continue; // Dropped: the client sees its connection closed.
        }
        clients.fetch_add(1, Ordering::Relaxed);
        let (payload, clients, requests) = (payload.clone(), clients.clone(), requests.clone());
        std::thread::spawn(move || {
            if serve(stream, &payload).is_ok() {
                requests.fetch_add(1, Ordering::Relaxed);
            }
            clients.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn serve(stream: TcpStream, payload: &[u8]) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_write_timeout(Some(Duration::from_secs(60)))?;
    let mut reader = BufReader::new((&stream).take(16 * 1024));
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let mut writer = &stream;
    let body = match request.split_whitespace().next() {
        Some("GET") => payload,
        Some("HEAD") => &[],
        _ => {
            return writer.write_all(b"HTTP/1.0 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n");
        }
    };
    write!(
        writer,
        "HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
        payload.len()
    )?;
    writer.write_all(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(port: u16, request: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    }

    #[test]
    fn serves_the_payload() {
        let server = PayloadServer::start().unwrap();
        let answer = ask(server.port(), b"GET /payload HTTP/1.1\r\nHost: x\r\n\r\n");
        let body = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
        assert!(answer.starts_with(b"HTTP/1.0 200 OK\r\n"));
        assert_eq!(answer[body..], payload());
    }

    #[test]
    fn refuses_other_methods_and_survives_nonsense() {
        let server = PayloadServer::start().unwrap();
        assert!(ask(server.port(), b"POST / HTTP/1.0\r\n\r\n").starts_with(b"HTTP/1.0 405"));
        assert!(ask(server.port(), b"\r\n\r\n").starts_with(b"HTTP/1.0 405"));
        let head = ask(server.port(), b"HEAD / HTTP/1.0\r\n\r\n");
        assert!(head.ends_with(b"\r\n\r\n") && head.starts_with(b"HTTP/1.0 200"));
    }

    #[test]
    fn the_payload_never_changes() {
        let bytes = payload();
        assert_eq!(bytes.len(), PAYLOAD_BYTES);
        assert_eq!(bytes[..8], payload()[..8]);
        assert_eq!(bytes[..4], [122, 72, 33, 154]);
    }
}
