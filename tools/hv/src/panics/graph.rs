//! Who calls whom in the image.
//!
//! Direct calls and jumps are exact. An indirect one may lead to every function whose address is
//! a constant: a word of the data (tables of methods, statics), or an operand of an instruction.
//! That is more than can happen, never less: nothing computes the address of a function.

use std::collections::VecDeque;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, OpKind, Register};

use super::image::{Image, Location};

/// What the code of one function does, as far as it matters here.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// Functions that it calls or jumps to.
    pub calls: Vec<usize>,
    /// Whether it calls what a register or memory says.
    pub indirect: bool,
    /// Places in the source that it can name in the message of a panic.
    pub locations: Vec<Location>,
}

/// The call graph.
pub struct Graph {
    /// One for each function of the image.
    pub nodes: Vec<Node>,
    /// Functions whose address is a constant.
    pub taken: Vec<usize>,
}

impl Graph {
    /// Decodes the whole image.
    pub fn of(image: &Image) -> Self {
        let mut taken: Vec<usize> = image.words().filter_map(|word| image.starting_at(word)).collect();
        let nodes = (0..image.functions.len()).map(|index| node(image, index, &mut taken)).collect();
        taken.sort_unstable();
        taken.dedup();
        Self { nodes, taken }
    }

    /// Everything that can be reached from `roots` without entering a function of `cut`: for
    /// each function by whom it was reached first, on a shortest path; a root by itself.
    pub fn reach(&self, roots: &[usize], cut: &[usize]) -> Vec<Option<usize>> {
        let mut by = vec![None; self.nodes.len()];
        let mut waiting = VecDeque::new();
        let mut pointers_follow = false;
        let mut enter = |from: usize, to: usize, waiting: &mut VecDeque<usize>| {
            if let Some(place @ None) = by.get_mut(to)
                && !cut.contains(&to)
            {
                *place = Some(from);
                waiting.push_back(to);
            }
        };
        for &root in roots {
            enter(root, root, &mut waiting);
        }
        while let Some(index) = waiting.pop_front() {
            let Some(node) = self.nodes.get(index) else { continue };
            for &callee in &node.calls {
                enter(index, callee, &mut waiting);
            }
            if node.indirect && !pointers_follow {
                pointers_follow = true;
                for &target in &self.taken {
                    enter(index, target, &mut waiting);
                }
            }
        }
        by
    }
}

/// Decodes one function; adds to `taken` the functions whose addresses are among its operands.
fn node(image: &Image, index: usize, taken: &mut Vec<usize>) -> Node {
    let mut node = Node::default();
    let Some(function) = image.functions.get(index) else { return node };
    let mut decoder = Decoder::with_ip(64, &function.code, function.start, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        match instruction.flow_control() {
            FlowControl::Call | FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
                if let Some(target) = image.owner(instruction.near_branch_target()) {
                    node.calls.push(target);
                }
            }
            FlowControl::IndirectCall => node.indirect = true,
            FlowControl::IndirectBranch => node.indirect |= !stays_inside(image, index, &instruction),
            _ => {
                for constant in constants(&instruction) {
                    taken.extend(image.starting_at(constant));
                    node.locations.extend(image.location(constant));
                }
            }
        }
    }
    node.calls.sort_unstable();
    node.calls.dedup();
    node.calls.retain(|callee| *callee != index);
    node.locations.sort_unstable();
    node.locations.dedup();
    node
}

/// Whether an indirect jump goes by a table whose first entry is in its own function: the arms
/// of a `match`.
fn stays_inside(image: &Image, index: usize, instruction: &Instruction) -> bool {
    instruction.op0_kind() == OpKind::Memory
        && instruction.memory_base() == Register::None
        && instruction.memory_index_scale() == 8
        && image.word(instruction.memory_displacement64()).and_then(|first| image.owner(first)) == Some(index)
}

/// Operands that may be addresses: constants, and what LEA computes.
fn constants(instruction: &Instruction) -> impl Iterator<Item = u64> {
    let immediates = (0..instruction.op_count()).filter_map(|operand| match instruction.op_kind(operand) {
        OpKind::Immediate32to64 | OpKind::Immediate64 | OpKind::Immediate32 => {
            Some(instruction.immediate(operand))
        }
        _ => None,
    });
    let address = instruction.is_ip_rel_memory_operand().then(|| instruction.ip_rel_memory_address());
    // The image is in the last 2 GiB, so an address may stand as a displacement without a base.
    let absolute = instruction.memory_base() == Register::None
        && (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory);
    immediates.chain(address).chain(absolute.then(|| instruction.memory_displacement64()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panics::image::Function;

    const BASE: u64 = 0xffff_ffff_8020_0000;

    /// Functions of 16 bytes each, at `BASE`, and 64 bytes of data behind 4 KiB.
    fn image(codes: &[&[u8]], words: &[u64]) -> Image {
        let functions = codes.iter().enumerate().map(|(index, code)| {
            let mut bytes = code.to_vec();
            bytes.resize(16, 0xcc);
            Function { name: format!("f{index}"), start: BASE + 16 * index as u64, code: bytes }
        });
        let data = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        Image::of(functions.collect(), BASE + 0x1000, data)
    }

    fn reached(graph: &Graph, root: usize, cut: &[usize]) -> Vec<usize> {
        let by = graph.reach(&[root], cut);
        (0..by.len()).filter(|index| by[*index].is_some()).collect()
    }

    #[test]
    fn direct_calls_and_jumps_are_followed() {
        // call f1; jmp f2; nothing leads to f3.
        let call = [0xe8, 0x0b, 0, 0, 0, 0xe9, 0x16, 0, 0, 0];
        let graph = Graph::of(&image(&[&call, &[0xc3], &[0xc3], &[0xc3]], &[]));
        assert_eq!(graph.nodes[0].calls, [1, 2]);
        assert_eq!(reached(&graph, 0, &[]), [0, 1, 2]);
        assert_eq!(reached(&graph, 0, &[1]), [0, 2]);
    }

    #[test]
    fn an_indirect_call_goes_to_every_function_whose_address_is_a_constant() {
        // f0: call [rax+0x18]; f2 is in the data; f4 has its address taken by f3's
        // `mov rax, imm32`, f5 by its `lea rax, [rip + disp32]`; f1 is nobody's.
        let f4 = BASE as u32 + 64;
        let mut takes = vec![0x48, 0xc7, 0xc0];
        takes.extend(f4.to_le_bytes());
        takes.extend([0x48, 0x8d, 0x05, 18, 0, 0, 0]);
        let codes: [&[u8]; 6] = [&[0xff, 0x50, 0x18], &[0xc3], &[0xc3], &takes, &[0xc3], &[0xc3]];
        let graph = Graph::of(&image(&codes, &[0, BASE + 32, BASE + 17]));
        assert_eq!(graph.taken, [2, 4, 5]);
        assert_eq!(reached(&graph, 0, &[]), [0, 2, 4, 5]);
        assert_eq!(reached(&graph, 1, &[]), [1]);
    }

    #[test]
    fn the_arms_of_a_match_are_no_calls() {
        // jmp [table + rax * 8]
        let mut jump = vec![0xff, 0x24, 0xc5];
        jump.extend((BASE as u32 + 0x1000).to_le_bytes());
        let inside = Graph::of(&image(&[&jump, &[0xc3]], &[BASE + 4]));
        assert!(!inside.nodes[0].indirect);
        let outside = Graph::of(&image(&[&jump, &[0xc3]], &[BASE + 16]));
        assert!(outside.nodes[0].indirect && reached(&outside, 0, &[]) == [0, 1]);
    }

    #[test]
    fn a_path_is_the_shortest() {
        // f0: call f1; call f2. f1: call f2. f2: call f3.
        let f0 = [0xe8, 0x0b, 0, 0, 0, 0xe8, 0x16, 0, 0, 0];
        let graph = Graph::of(&image(&[&f0, &[0xe8, 0x0b, 0, 0, 0], &[0xe8, 0x0b, 0, 0, 0], &[0xc3]], &[]));
        let by = graph.reach(&[0], &[]);
        assert_eq!(by, [Some(0), Some(0), Some(0), Some(2)]);
    }
}
