//! What keys hold: numbers, text, names, lists, tables.

use super::reader::{Choice, Reader, Table, TableDoc, Value, closest, list, wrong_type};
use crate::config::{
    Backing, Barriers, Console, ConsolePort, DiskConfig, EndPolicy, Expect, GuestConfig, HypervisorConfig,
    ImageMode, Interrupts, IoProcessor, Isolation, Kill, Model, NetworkConfig, PartitionName, Passthrough,
    PciConfig, Ring, RunsIn, SerialCard, SharedMemoryConfig, UnmappedAccess, Uplink,
};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use network::MacAddress;
use platform::names::{DevFn, DeviceId, DevicePath, Memory};
use toml::Spanned;
use toml::de::DeValue;

impl Value for u32 {
    fn kind() -> String {
        "a number".to_string()
    }
    fn example() -> String {
        "1".to_string()
    }
    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(number) = value.get_ref().as_integer() else {
            return wrong_type(value, reader);
        };
        let parsed = Self::from_str_radix(number.as_str(), number.radix()).ok();
        if parsed.is_none() {
            let message = format!("{number} is out of range");
            reader.tell(value.span(), message, format!("use a number from 0 to {}", Self::MAX));
        }
        parsed
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for bool {
    fn kind() -> String {
        "true or false".to_string()
    }
    fn example() -> String {
        "true".to_string()
    }
    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Self> {
        value.get_ref().as_bool().or_else(|| wrong_type(value, reader))
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    fn kind() -> String {
        "text".to_string()
    }
    fn example() -> String {
        "\"...\"".to_string()
    }
    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Self> {
        match value.get_ref().as_str() {
            Some(text) => Some(text.to_string()),
            None => wrong_type(value, reader),
        }
    }
    fn text(&self) -> String {
        format!("{self:?}")
    }
}

/// Types that are written as text.
macro_rules! named {
    ($($type:ty: $kind:literal, $example:literal;)*) => { $(
        impl Value for $type {
            fn kind() -> String {
                $kind.to_string()
            }
            fn example() -> String {
                $example.to_string()
            }
            fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Self> {
                let Some(text) = value.get_ref().as_str() else {
                    return wrong_type(value, reader);
                };
                match text.parse() {
                    Ok(parsed) => Some(parsed),
                    Err(error) => {
                        let message = format!("{text:?} is not {}", Self::kind());
                        reader.tell(value.span(), message, error.to_string());
                        None
                    }
                }
            }
            fn text(&self) -> String {
                format!("\"{self}\"")
            }
        }
    )* };
}

named! {
    Memory: "a size", "\"256 MiB\"";
    DevFn: "a device and function", "\"01.0\"";
    DevicePath: "a path from the root", "\"00:02.0\"";
    DeviceId: "a vendor and device ID", "\"8086:10d3\"";
    Kill: "a compartment and when", "\"net:03.0@2500\"";
    MacAddress: "a MAC address", "\"52:54:00:12:34:56\"";
}

/// Types that are one of some words.
macro_rules! chosen {
    ($($type:ty),*) => { $(
        impl Value for $type {
            fn kind() -> String {
                words::<$type>().iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ")
            }
            fn example() -> String {
                words::<$type>().first().map(|word| format!("\"{word}\"")).unwrap_or_default()
            }
            fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Self> {
                read_choice(value, reader)
            }
            fn text(&self) -> String {
                let word = <$type as Choice>::WORDS.iter().find(|(choice, ..)| choice == self);
                word.map(|(_, word, _)| format!("\"{word}\"")).unwrap_or_default()
            }
            fn words() -> Vec<(&'static str, &'static [&'static str])> {
                <$type as Choice>::WORDS.iter().map(|(_, word, doc)| (*word, *doc)).collect()
            }
        }
    )* };
}

chosen!(
    Barriers,
    IoProcessor,
    ConsolePort,
    EndPolicy,
    Expect,
    ImageMode,
    Interrupts,
    Isolation,
    Model,
    Ring,
    RunsIn,
    UnmappedAccess
);

/// A word for a port of the board, a table for one of a card.
impl Value for Console {
    fn kind() -> String {
        format!("{} or a table", ConsolePort::kind())
    }
    fn example() -> String {
        ConsolePort::example()
    }
    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(_) => <SerialCard as Value>::read(value, reader).map(Self::Card),
            DeValue::String(_) => <ConsolePort as Value>::read(value, reader).map(Self::Named),
            _ => wrong_type(value, reader),
        }
    }
    fn text(&self) -> String {
        match self {
            Self::Named(port) => Value::text(port),
            Self::Card(card) => card.text(),
        }
    }
    fn tables(header: &str, list: &mut Vec<TableDoc>) {
        SerialCard::tables(header, list);
    }
    fn words() -> Vec<(&'static str, &'static [&'static str])> {
        ConsolePort::words()
    }
}

/// A number or a text.
impl Value for PartitionName {
    fn kind() -> String {
        "a number or text".to_string()
    }
    fn example() -> String {
        "2".to_string()
    }
    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Integer(_) => u32::read(value, reader).map(Self::Number),
            DeValue::String(_) => String::read(value, reader).map(Self::Text),
            _ => wrong_type(value, reader),
        }
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

fn words<C: Choice>() -> Vec<&'static str> {
    C::WORDS.iter().map(|(_, word, _)| *word).collect()
}

fn read_choice<C: Choice + Value>(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<C> {
    let words = words::<C>();
    let Some(text) = value.get_ref().as_str() else {
        return wrong_type(value, reader);
    };
    let choice = C::WORDS.iter().find(|(_, word, _)| *word == text);
    if choice.is_none() {
        let help = match closest(text, &words) {
            Some(close) => format!("did you mean \"{close}\"?"),
            None => format!("use one of {}", list(&words)),
        };
        reader.tell(value.span(), format!("unknown choice {text:?}"), help);
    }
    choice.map(|(choice, ..)| *choice)
}

impl<V: Value> Value for Option<V> {
    fn kind() -> String {
        V::kind()
    }
    fn example() -> String {
        V::example()
    }
    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Self> {
        V::read(value, reader).map(Some)
    }
    fn text(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_string(), V::text)
    }
    fn words() -> Vec<(&'static str, &'static [&'static str])> {
        V::words()
    }
    fn tables(header: &str, list: &mut Vec<TableDoc>) {
        V::tables(header, list);
    }
}

impl<V: Value> Value for Vec<V> {
    fn kind() -> String {
        format!("a list, each {}", V::kind())
    }
    fn example() -> String {
        format!("[{}]", V::example())
    }
    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(array) = value.get_ref().as_array() else {
            return wrong_type(value, reader);
        };
        // Every element is read before any is missed.
        let elements: Vec<_> = array
            .iter()
            .enumerate()
            .map(|(index, element)| {
                reader.part(&format!("[{index}]"), element.span(), |reader| V::read(element, reader))
            })
            .collect();
        elements.into_iter().collect()
    }
    fn text(&self) -> String {
        let elements: Vec<_> = self.iter().map(V::text).collect();
        format!("[{}]", elements.join(", "))
    }
    fn tables(header: &str, list: &mut Vec<TableDoc>) {
        V::tables(&format!("[{header}]"), list);
    }
}

/// Tables inside tables.
macro_rules! nested {
    ($($type:ty),*) => { $(
        impl Value for $type {
            fn kind() -> String {
                "a table".to_string()
            }
            fn example() -> String {
                "{ ... }".to_string()
            }
            fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Self> {
                match value.get_ref().as_table() {
                    Some(table) => reader.read_table(table, value.span()),
                    None => wrong_type(value, reader),
                }
            }
            fn text(&self) -> String {
                "see below".to_string()
            }
            fn tables(header: &str, list: &mut Vec<TableDoc>) {
                list_table::<$type>(header, list);
            }
        }
    )* };
}

nested!(
    HypervisorConfig,
    DiskConfig,
    NetworkConfig,
    SerialCard,
    SharedMemoryConfig,
    GuestConfig,
    PciConfig,
    Passthrough,
    Uplink,
    Backing
);

/// Lists a table, and after it the tables that its keys lead to.
fn list_table<T: Table>(header: &str, list: &mut Vec<TableDoc>) {
    let keys = T::keys();
    let nested: Vec<_> = keys.iter().map(|key| (key.name, key.tables)).collect();
    list.push(TableDoc { header: header.to_string(), doc: T::DOC, keys });
    // Brackets of a list of tables go around the whole header.
    let plain = header.trim_matches(['[', ']']);
    for (name, tables) in nested {
        tables(&format!("{plain}.{name}"), list);
    }
}
