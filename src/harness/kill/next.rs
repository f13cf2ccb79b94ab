//! Which instruction the processor executes next, by the one that it is about to execute and its registers.
//!
//! A trap after an instruction can come from the trap flag or from a breakpoint at the next one. The flag needs no knowledge; but its
//! trap has the kernel read the debug registers, and on a virtual machine each such look may go through the hypervisor: 23 us where a
//! breakpoint takes 2. So the next instruction is foretold where that is simple, and the flag is for the rest.

/// Whether it is `syscall`.
pub(super) fn is_system_call(at: u64) -> bool {
    // SAFETY: the processor is about to execute it; a longer instruction at the end of a mapping has two bytes all the same,
    // and a shorter one is followed by others of its function.
    unsafe { (at as *const [u8; 2]).read_unaligned() == [0x0f, 0x05] }
}

/// Where it goes from the instruction at `at`; `None` where that is not known, or the instruction is more than one step. A system call
/// goes to what stands behind it. [`prepare`] comes first.
#[cfg(not(feature = "symbols"))]
pub(super) fn next(at: u64, _registers: &[i64; 23]) -> Option<u64> {
    is_system_call(at).then_some(at + 2)
}

/// Does what [`next`] needs once, so that it needs no allocator.
#[cfg(not(feature = "symbols"))]
pub(super) fn prepare() {}

#[cfg(feature = "symbols")]
pub(super) use decoded::{next, prepare};

#[cfg(feature = "symbols")]
mod decoded {
    use super::super::step::PAGE;
    use super::super::trampoline::{EFL, RSP};
    use iced_x86::{
        Code, ConditionCode, Decoder, DecoderError, DecoderOptions, FlowControl, Instruction, OpKind, Register,
    };

    /// The longest instruction.
    const LONGEST: usize = 15;

    /// The same, of any instruction but those that repeat themselves, count, or set what the next trap depends on.
    pub(in super::super) fn next(at: u64, registers: &[i64; 23]) -> Option<u64> {
        if super::is_system_call(at) {
            return Some(at + 2);
        }
        let instruction = decode(at);
        match instruction.flow_control() {
            FlowControl::Next if !one_step(&instruction) => None,
            FlowControl::Next => Some(instruction.next_ip()),
            FlowControl::UnconditionalBranch | FlowControl::Call => near(&instruction),
            FlowControl::ConditionalBranch => {
                let taken = holds(instruction.condition_code(), registers[EFL] as u64)?;
                if taken { near(&instruction) } else { Some(instruction.next_ip()) }
            }
            FlowControl::IndirectBranch | FlowControl::IndirectCall => target(&instruction, registers),
            FlowControl::Return if matches!(instruction.code(), Code::Retnq | Code::Retnq_imm16) => {
                // SAFETY: the processor is about to read it.
                Some(unsafe { (registers[RSP] as *const u64).read_unaligned() })
            }
            _ => None,
        }
    }

    /// Makes the decoder's tables.
    pub(in super::super) fn prepare() {
        decode(prepare as *const () as u64);
    }

    fn decode(at: u64) -> Instruction {
        let within = |length| {
            // SAFETY: the processor is about to execute the instruction at `at`, so the rest of its page can be read; and the next page
            // too, since more is asked for only if the instruction goes on there.
            let bytes = unsafe { core::slice::from_raw_parts(at as *const u8, length) };
            let mut decoder = Decoder::with_ip(64, bytes, at, DecoderOptions::NONE);
            (decoder.decode(), decoder.last_error())
        };
        let left = PAGE - at as usize % PAGE;
        match within(left.min(LONGEST)) {
            (_, DecoderError::NoMoreBytes) if left < LONGEST => within(LONGEST).0,
            (instruction, _) => instruction,
        }
    }

    /// What has no trap of its own in the middle, and none that is put off.
    fn one_step(instruction: &Instruction) -> bool {
        let repeats =
            instruction.is_string_instruction() && (instruction.has_rep_prefix() || instruction.has_repne_prefix());
        let sets = matches!(instruction.code(), Code::Popfw | Code::Popfd | Code::Popfq)
            || (instruction.op0_kind() == OpKind::Register && instruction.op0_register() == Register::SS);
        !repeats && !sets
    }

    fn near(instruction: &Instruction) -> Option<u64> {
        (instruction.op0_kind() == OpKind::NearBranch64).then(|| instruction.near_branch_target())
    }

    /// Where an indirect jump or call goes.
    fn target(instruction: &Instruction, registers: &[i64; 23]) -> Option<u64> {
        match instruction.code() {
            Code::Jmp_rm64 | Code::Call_rm64 => {}
            _ => return None,
        }
        if instruction.op0_kind() == OpKind::Register {
            return value(instruction.op0_register(), registers);
        }
        if instruction.segment_prefix() != Register::None {
            return None;
        }
        let base = match instruction.memory_base() {
            // The displacement is the address.
            Register::RIP | Register::None => 0,
            base => value(base, registers)?,
        };
        let index = match instruction.memory_index() {
            Register::None => 0,
            index => value(index, registers)?.wrapping_mul(instruction.memory_index_scale().into()),
        };
        let at = base.wrapping_add(index).wrapping_add(instruction.memory_displacement64());
        // SAFETY: the processor is about to read it. If it cannot, then this process ends here as it would have there.
        Some(unsafe { (at as *const u64).read_unaligned() })
    }

    fn value(register: Register, registers: &[i64; 23]) -> Option<u64> {
        let index = match register {
            Register::RAX => libc::REG_RAX,
            Register::RBX => libc::REG_RBX,
            Register::RCX => libc::REG_RCX,
            Register::RDX => libc::REG_RDX,
            Register::RSI => libc::REG_RSI,
            Register::RDI => libc::REG_RDI,
            Register::RBP => libc::REG_RBP,
            Register::RSP => libc::REG_RSP,
            Register::R8 => libc::REG_R8,
            Register::R9 => libc::REG_R9,
            Register::R10 => libc::REG_R10,
            Register::R11 => libc::REG_R11,
            Register::R12 => libc::REG_R12,
            Register::R13 => libc::REG_R13,
            Register::R14 => libc::REG_R14,
            Register::R15 => libc::REG_R15,
            _ => return None,
        };
        Some(registers[index as usize] as u64)
    }

    /// Whether a condition holds with these flags; `None` for what depends on a register.
    fn holds(condition: ConditionCode, flags: u64) -> Option<bool> {
        let [carry, parity, zero, sign, overflow] = [0, 2, 6, 7, 11].map(|bit| flags >> bit & 1 != 0);
        Some(match condition {
            ConditionCode::o => overflow,
            ConditionCode::no => !overflow,
            ConditionCode::b => carry,
            ConditionCode::ae => !carry,
            ConditionCode::e => zero,
            ConditionCode::ne => !zero,
            ConditionCode::be => carry || zero,
            ConditionCode::a => !carry && !zero,
            ConditionCode::s => sign,
            ConditionCode::ns => !sign,
            ConditionCode::p => parity,
            ConditionCode::np => !parity,
            ConditionCode::l => sign != overflow,
            ConditionCode::ge => sign == overflow,
            ConditionCode::le => zero || sign != overflow,
            ConditionCode::g => !zero && sign == overflow,
            ConditionCode::None => return None,
        })
    }
}
