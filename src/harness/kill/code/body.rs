//! One function's instructions, and where each goes on.
//!
//! What can be reached is decoded first, from the entry, the landing pads and the tables of jumps: so data between instructions is
//! not taken for code. Then what lies between, as far as it decodes: code that nothing goes to, and padding.

use super::CodeError;
use super::image::{Bounds, Image, Target};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A table of jumps has no more entries than this.
const MOST_ENTRIES: usize = 4096;

/// Where an instruction goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// To the next one alone.
    Next,
    /// To this address alone, perhaps of another function.
    Jump(u64),
    /// To the next one or this.
    Branch(u64),
    /// To the next one, if what is called returns.
    Call(Target),
    /// To another function, for good.
    Tail(Target),
    /// To one of these, by a table.
    Table(Vec<u64>),
    /// To a place that is not known.
    Indirect,
    /// To the caller.
    Return,
    /// Nowhere.
    Stop,
}

#[derive(Clone, Debug)]
pub(super) struct Decoded {
    pub(super) at: u64,
    length: u64,
    /// It does nothing: between blocks, or before one that shall be aligned.
    pub(super) padding: bool,
    pub(super) flow: Flow,
    /// A function whose address it takes.
    pub(super) takes: Option<u64>,
}

impl Decoded {
    pub(super) fn end(&self) -> u64 {
        self.at + self.length
    }
}

/// A function, decoded.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) range: Range<u64>,
    /// By address.
    pub(super) instructions: Vec<Decoded>,
    /// Where it goes on after a panic.
    pub(super) pads: Vec<u64>,
}

impl Body {
    pub(super) fn decode(image: &Image, bounds: &Bounds) -> Result<Self, CodeError> {
        let range = bounds.range.clone();
        let mut pads = image.landing_pads(bounds)?;
        pads.retain(|pad| range.contains(pad));
        let linear = linear(image, &range);
        let reader = Reader { image, range: &range, boundaries: linear.iter().map(Instruction::ip).collect(), linear };
        let mut found = reader.reached(&pads);
        reader.between(&mut found);
        Ok(Self { instructions: found.into_values().collect(), range, pads })
    }
}

struct Reader<'r> {
    image: &'r Image,
    range: &'r Range<u64>,
    /// The function from its first byte to its last, as if it held no data: what tables are looked for in.
    linear: Vec<Instruction>,
    boundaries: BTreeSet<u64>,
}

impl Reader<'_> {
    /// From the entry and the landing pads.
    fn reached(&self, pads: &[u64]) -> BTreeMap<u64, Decoded> {
        let mut found = BTreeMap::new();
        let mut work = vec![self.range.start];
        work.extend(pads);
        while let Some(mut at) = work.pop() {
            while self.range.contains(&at) && !found.contains_key(&at) {
                let Some(decoded) = self.decode(at) else { break };
                at = decoded.end();
                let goes_on = match &decoded.flow {
                    Flow::Next | Flow::Call(_) => true,
                    Flow::Branch(target) => {
                        work.push(*target);
                        true
                    }
                    Flow::Jump(target) => {
                        work.push(*target);
                        false
                    }
                    Flow::Table(targets) => {
                        work.extend(targets);
                        false
                    }
                    Flow::Tail(_) | Flow::Indirect | Flow::Return | Flow::Stop => false,
                };
                found.insert(decoded.at, decoded);
                if !goes_on {
                    break;
                }
            }
        }
        found
    }

    /// What lies between: as long as it decodes, and ends where what is known begins.
    fn between(&self, found: &mut BTreeMap<u64, Decoded>) {
        let mut gaps = Vec::new();
        let mut behind = self.range.start;
        for decoded in found.values() {
            gaps.push(behind..decoded.at);
            behind = decoded.end().max(behind);
        }
        gaps.push(behind..self.range.end);
        for gap in gaps {
            let mut at = gap.start;
            while at < gap.end {
                let Some(decoded) = self.decode(at).filter(|decoded| decoded.end() <= gap.end) else { break };
                at = decoded.end();
                found.insert(decoded.at, decoded);
            }
        }
    }

    fn decode(&self, at: u64) -> Option<Decoded> {
        let instruction = one(self.image.bytes(at), at).filter(|found| found.next_ip() <= self.range.end)?;
        Some(Decoded {
            at,
            length: instruction.len() as u64,
            padding: matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3),
            flow: self.flow(&instruction),
            takes: self.takes(&instruction),
        })
    }

    fn flow(&self, instruction: &Instruction) -> Flow {
        let image = self.image;
        let slot = || match instruction.is_ip_rel_memory_operand() {
            true => image.slot(instruction.ip_rel_memory_address()),
            false => Target::Unknown,
        };
        match instruction.flow_control() {
            FlowControl::UnconditionalBranch => self.jump(instruction.near_branch_target()),
            FlowControl::ConditionalBranch => Flow::Branch(instruction.near_branch_target()),
            FlowControl::IndirectBranch if instruction.is_ip_rel_memory_operand() => Flow::Tail(slot()),
            FlowControl::IndirectBranch => self.table(instruction).map_or(Flow::Indirect, Flow::Table),
            FlowControl::Return => Flow::Return,
            FlowControl::Call if instruction.op0_kind() == OpKind::NearBranch64 => {
                Flow::Call(target(image, instruction.near_branch_target()))
            }
            FlowControl::IndirectCall => Flow::Call(slot()),
            FlowControl::Exception => Flow::Stop,
            FlowControl::XbeginXabortXend if instruction.mnemonic() == Mnemonic::Xbegin => {
                Flow::Branch(instruction.near_branch_target())
            }
            _ if instruction.mnemonic() == Mnemonic::Hlt => Flow::Stop,
            // A system call is one step of the process.
            FlowControl::Next | FlowControl::Call | FlowControl::Interrupt | FlowControl::XbeginXabortXend => {
                Flow::Next
            }
        }
    }

    fn jump(&self, to: u64) -> Flow {
        if self.range.contains(&to) { Flow::Jump(to) } else { Flow::Tail(target(self.image, to)) }
    }

    fn takes(&self, instruction: &Instruction) -> Option<u64> {
        let image = self.image;
        let address = if instruction.is_ip_rel_memory_operand() {
            let address = instruction.ip_rel_memory_address();
            match instruction.mnemonic() {
                Mnemonic::Lea => address,
                _ => match image.slot(address) {
                    Target::Here(function) => function,
                    _ => return None,
                },
            }
        } else if image.fixed() && matches!(instruction.mnemonic(), Mnemonic::Mov | Mnemonic::Push) {
            let last = instruction.op_count() - 1;
            instruction.try_immediate(last).ok()?
        } else {
            return None;
        };
        image.function(address).filter(|bounds| bounds.range.start == address).map(|_| address)
    }

    /// Where a jump by a table may go. Perhaps more than it does: what follows the table may look like a part of it.
    fn table(&self, jump: &Instruction) -> Option<Vec<u64>> {
        let mut targets = BTreeSet::new();
        if jump.op0_kind() == OpKind::Memory {
            if jump.memory_base() == Register::None && jump.memory_index() != Register::None {
                targets.extend(self.entries(jump.memory_displacement64(), 8));
            }
        } else {
            let before = self.linear.partition_point(|found| found.ip() < jump.ip());
            let load = self.linear[..before].iter().rev().take(8).find(|found| {
                found.mnemonic() == Mnemonic::Movsxd
                    && found.op1_kind() == OpKind::Memory
                    && found.memory_index_scale() == 4
            })?;
            // Where the address of the table is taken may be far away, before a loop. All that could be it are looked at.
            let mut tables: Vec<_> = self.addresses_taken(Some(load.memory_base())).collect();
            if tables.is_empty() {
                tables.extend(self.addresses_taken(None));
            }
            targets.extend(tables.into_iter().flat_map(|table| self.entries(table, 4)));
        }
        (!targets.is_empty()).then(|| targets.into_iter().collect())
    }

    /// Addresses of data that the function takes, into a register.
    fn addresses_taken(&self, into: Option<Register>) -> impl Iterator<Item = u64> {
        let taken = self.linear.iter().filter(move |found| {
            found.mnemonic() == Mnemonic::Lea
                && found.is_ip_rel_memory_operand()
                && into.is_none_or(|register| found.op0_register() == register)
        });
        taken.map(Instruction::ip_rel_memory_address).filter(|&address| self.image.is_data(address))
    }

    /// Of a table, whose entries are addresses, or distances from the table: up to the first that is no instruction here.
    fn entries(&self, table: u64, size: usize) -> impl Iterator<Item = u64> {
        let entries = self.image.bytes(table).chunks_exact(size).take(MOST_ENTRIES).map(move |bytes| match bytes {
            &[a, b, c, d] => table.wrapping_add_signed(i32::from_le_bytes([a, b, c, d]).into()),
            bytes => bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)),
        });
        entries.take_while(|entry| self.boundaries.contains(entry))
    }
}

/// What code at `address` is, called or jumped to: a function, or a stub that goes on through a slot.
fn target(image: &Image, address: u64) -> Target {
    let function = image.function(address);
    if image.is_stub(address) {
        let mut at = address;
        while let Some(instruction) = one(image.bytes(at), at) {
            match instruction.mnemonic() {
                Mnemonic::Endbr64 => at = instruction.next_ip(),
                Mnemonic::Jmp if instruction.is_ip_rel_memory_operand() => {
                    return image.slot(instruction.ip_rel_memory_address());
                }
                _ => break,
            }
        }
    }
    if function.is_some() { Target::Here(address) } else { Target::Unknown }
}

fn one(bytes: &[u8], at: u64) -> Option<Instruction> {
    let instruction = Decoder::with_ip(64, bytes, at, DecoderOptions::NONE).decode();
    (!instruction.is_invalid()).then_some(instruction)
}

fn linear(image: &Image, range: &Range<u64>) -> Vec<Instruction> {
    let bytes = image.bytes(range.start);
    let length = ((range.end - range.start) as usize).min(bytes.len());
    Decoder::with_ip(64, &bytes[..length], range.start, DecoderOptions::NONE).into_iter().collect()
}
