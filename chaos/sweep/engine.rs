//! The engine itself, on structures that are made to be right or wrong in one way: what it must find, and what it must not.

use super::case::Case;
use ownerdead::harness::kill::{Facts, Finding, Kind, Memory, Method, Subject, Sweep, SweepReport};
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::atomic::Ordering::Relaxed;
use std::mem::size_of;
use std::time::Duration;

/// A structure of words, and what is done with them.
struct Toy {
    memory: Memory,
    operation: fn(&Toy),
    recover: fn(&Toy) -> Result<&'static str, Finding>,
    judge: fn(&Toy) -> Result<(), Finding>,
}

impl Toy {
    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(8 * (index + 1) <= self.memory.len());
        // SAFETY: in bounds, as was just seen; the mapping is page-aligned, and any bytes are an atomic.
        unsafe { &*self.memory.start().as_ptr().cast::<AtomicU64>().add(index) }
    }

    fn get(&self, index: usize) -> u64 {
        self.word(index).load(Relaxed)
    }

    fn set(&self, index: usize, value: u64) {
        self.word(index).store(value, Relaxed);
    }

    /// A robust mutex of the C library's, in the memory.
    fn mutex(&self) -> *mut libc::pthread_mutex_t {
        assert!(size_of::<libc::pthread_mutex_t>() <= self.memory.len());
        self.memory.start().as_ptr().cast()
    }
}

impl Subject for Toy {
    type Victim<'s> = ();
    type Survivor<'s> = ();

    fn memory(&self) -> &Memory {
        &self.memory
    }
    fn attach(&self, _: &Facts) {}
    fn operation(&self, (): &mut (), _: &Facts) {
        (self.operation)(self);
    }
    fn arrive(&self, _: &Facts) {}
    fn recover(&self, (): &mut (), _: &Facts) -> Result<&'static str, Finding> {
        (self.recover)(self)
    }
    fn judge(&self, (): &mut (), _: &Facts) -> Result<(), Finding> {
        (self.judge)(self)
    }
}

fn toy(operation: fn(&Toy), recover: fn(&Toy) -> Result<&'static str, Finding>) -> Toy {
    Toy { memory: Memory::zeroed(4096).expect("memory"), operation, recover, judge: |_| Ok(()) }
}

const INDEX: usize = 0;
const PAYLOAD: usize = 1;
const COUNT: usize = 2;
const WHOLE: u64 = 7;

#[inline(never)]
fn payload_first(toy: &Toy) {
    toy.set(PAYLOAD, WHOLE);
    toy.set(INDEX, 1);
}

#[inline(never)]
fn index_first(toy: &Toy) {
    toy.set(INDEX, 1);
    toy.set(PAYLOAD, WHOLE);
}

fn read(toy: &Toy) -> Result<&'static str, Finding> {
    match (toy.get(INDEX), toy.get(PAYLOAD)) {
        (0, _) => Ok("nothing"),
        (_, WHOLE) => Ok("a record"),
        (_, other) => Err(Finding::torn(format!("the payload is {other}"))),
    }
}

/// The record is counted, and then taken away: who dies in between has it counted twice.
fn counts_first(toy: &Toy) -> Result<&'static str, Finding> {
    if toy.get(INDEX) != 0 {
        toy.set(COUNT, toy.get(COUNT) + 1);
        toy.set(INDEX, 0);
    }
    Ok("counted")
}

fn once(toy: &Toy) -> Result<(), Finding> {
    if toy.get(COUNT) > 1 { Err(Finding::duplicated("counted twice")) } else { Ok(()) }
}

#[inline(never)]
fn asks_the_kernel(toy: &Toy) {
    toy.set(PAYLOAD, WHOLE);
    // SAFETY: no arguments.
    unsafe { libc::getppid() };
    toy.set(INDEX, 1);
}

/// In every other process there is one more state.
#[inline(never)]
fn differs(toy: &Toy) {
    if std::process::id().is_multiple_of(2) {
        toy.set(PAYLOAD, WHOLE);
    }
    toy.set(INDEX, 1);
}

/// The same instructions in every process, and other values.
#[inline(never)]
fn writes_otherwise(toy: &Toy) {
    toy.set(PAYLOAD, u64::from(std::process::id() % 2));
}

#[inline(never)]
fn locks_and_unlocks(toy: &Toy) {
    // SAFETY: an initialised mutex, which stays where it is.
    unsafe {
        assert_eq!(libc::pthread_mutex_lock(toy.mutex()), 0);
        assert_eq!(libc::pthread_mutex_unlock(toy.mutex()), 0);
    }
}

fn locks_after_a_death(toy: &Toy) -> Result<&'static str, Finding> {
    // SAFETY: an initialised mutex, which stays where it is.
    let locked = unsafe { libc::pthread_mutex_trylock(toy.mutex()) };
    let met = match locked {
        0 => "free",
        libc::EOWNERDEAD => {
            // SAFETY: this thread has it, from a dead one.
            unsafe { libc::pthread_mutex_consistent(toy.mutex()) };
            "owner died"
        }
        code => return Err(Finding::stuck(format!("the mutex: {}", std::io::Error::from_raw_os_error(code)))),
    };
    // SAFETY: this thread has it.
    unsafe { libc::pthread_mutex_unlock(toy.mutex()) };
    Ok(met)
}

fn glibcs() -> Toy {
    let toy = toy(locks_and_unlocks, locks_after_a_death);
    // SAFETY: all zero is a valid attribute to initialise; the mutex lies in memory that all processes share.
    unsafe {
        let mut attributes: libc::pthread_mutexattr_t = std::mem::zeroed();
        libc::pthread_mutexattr_init(&mut attributes);
        libc::pthread_mutexattr_setpshared(&mut attributes, libc::PTHREAD_PROCESS_SHARED);
        libc::pthread_mutexattr_setrobust(&mut attributes, libc::PTHREAD_MUTEX_ROBUST);
        assert_eq!(libc::pthread_mutex_init(toy.mutex(), &attributes), 0);
    }
    toy
}

/// A sweep of a toy, and what must come of it.
type Check = (&'static str, fn() -> Toy, fn(Sweep<'_, Toy>) -> Sweep<'_, Toy>, fn(&SweepReport) -> bool);

const CHECKS: [Check; 12] = [
    (
        "a_right_order_has_three_states_and_no_finding",
        || toy(payload_first, read),
        |sweep| sweep,
        |report| {
            report.passed() && report.states == 3 && report.planted == report.instructions && report.forked.is_none()
        },
    ),
    (
        "an_index_before_its_payload_is_found",
        || toy(index_first, read),
        |sweep| sweep,
        |report| {
            let [found] = &report.found[..] else { return false };
            found.finding.kind == Kind::Torn
                && found.death.method == Method::Image
                && found.image[..16] == [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
                && report.disagreements.is_empty()
        },
    ),
    (
        "a_recovery_that_is_not_idempotent_is_found_by_a_second_death",
        || Toy { judge: once, ..toy(payload_first, counts_first) },
        |sweep| sweep,
        |report| matches!(&report.found[..], [found] if found.finding.kind == Kind::Duplicated && found.death.second.is_some()),
    ),
    (
        "and_by_no_single_one",
        || Toy { judge: once, ..toy(payload_first, counts_first) },
        |sweep| sweep.second_deaths(false),
        SweepReport::passed,
    ),
    (
        "a_survivor_that_waits_for_ever_is_stuck",
        || {
            toy(payload_first, |toy| {
                if toy.get(INDEX) == 0 {
                    Ok("")
                } else {
                    loop {
                        std::hint::spin_loop()
                    }
                }
            })
        },
        |sweep| sweep.patience(Duration::from_millis(300)),
        |report| report.found.iter().all(|found| found.finding.kind == Kind::Stuck) && !report.found.is_empty(),
    ),
    (
        "a_survivor_that_faults_has_crashed",
        || {
            toy(payload_first, |toy| {
                if toy.get(INDEX) != 0 {
                    // SAFETY: raises a signal.
                    unsafe { libc::raise(libc::SIGILL) };
                }
                Ok("")
            })
        },
        |sweep| sweep,
        |report| matches!(&report.found[..], [found] if found.finding.kind == Kind::Crashed && found.finding.text.contains("signal 4")),
    ),
    (
        "a_survivor_that_panics_has_crashed_and_says_how",
        || toy(payload_first, |toy| if toy.get(INDEX) != 0 { panic!("an odd index") } else { Ok("") }),
        |sweep| sweep,
        |report| matches!(&report.found[..], [found] if found.finding.text.contains("an odd index")),
    ),
    (
        "the_boundary_behind_a_system_call_is_judged",
        || toy(asks_the_kernel, read),
        |sweep| sweep,
        |report| {
            let at: Vec<u64> =
                report.places.iter().filter(|(_, place)| place.deaths > 0).map(|((at, _), _)| *at).collect();
            // SAFETY: instructions that this process has executed, or its victims, which have the same code.
            let calls = at.iter().filter(|&&at| unsafe { *(at as *const [u8; 2]) } == [0x0f, 0x05]);
            report.passed() && calls.clone().count() > 0 && calls.clone().all(|call| at.contains(&(call + 2)))
        },
    ),
    (
        "what_is_not_the_same_each_time_is_no_proof",
        || toy(differs, read_any),
        |sweep| sweep,
        |report| !report.disagreements.is_empty() && report.found.is_empty(),
    ),
    (
        "memory_that_is_not_the_images_is_a_disagreement",
        || toy(writes_otherwise, read_any),
        |sweep| sweep,
        |report| {
            report.disagreements.iter().all(|text| text.contains("the image has")) && !report.disagreements.is_empty()
        },
    ),
    (
        "what_the_kernel_marks_is_marked_by_both_methods",
        glibcs,
        |sweep| sweep,
        |report| report.passed() && report.places.keys().any(|(_, met)| met == "owner died") && report.forked.is_none(),
    ),
    (
        "an_operation_that_is_longer_than_the_log_is_incomplete",
        || toy(counts_up, read_any),
        // Little more than the room that one instruction may need.
        |sweep| sweep.log_words(3300).planted(false),
        |report| report.incomplete.is_some() && report.instructions > 0 && !report.passed(),
    ),
];

/// Tells where its stack and its victim lie in their pages, by which `memset` and its like choose a path.
struct Addresses(Memory);

impl Subject for Addresses {
    type Victim<'s> = u8;
    type Survivor<'s> = ();

    fn memory(&self) -> &Memory {
        &self.0
    }
    fn attach(&self, _: &Facts) -> u8 {
        0
    }
    fn operation(&self, victim: &mut u8, facts: &Facts) {
        let here = 0u8;
        for (word, byte) in [&raw const here, &raw const *victim].into_iter().enumerate() {
            facts.word(word).set(byte.addr() as u64 % 4096);
        }
    }
    fn arrive(&self, _: &Facts) {}
    fn recover(&self, (): &mut (), _: &Facts) -> Result<&'static str, Finding> {
        Ok("anything")
    }
}

/// A jump by each of the sixteen conditions, with these flags: overflow, sign, zero, parity, carry. Which were not taken.
fn conditions(flags: u64) -> u64 {
    let [carry, parity, zero, sign, overflow] = [0, 1, 2, 3, 4].map(|bit| flags >> bit & 1);
    // As `sahf` takes them.
    let low = carry | parity << 2 | zero << 6 | sign << 7;
    let not_taken;
    // SAFETY: it jumps forward within itself.
    unsafe {
        core::arch::asm!(
            // Overflow, if it is 1.
            "add al, 127",
            "mov ah, cl",
            "sahf",
            // From here on nothing changes flags.
            "mov {sum}, 0",
            "jo 2f", "lea {sum}, [{sum} + 0x1]", "2:",
            "jno 2f", "lea {sum}, [{sum} + 0x2]", "2:",
            "jb 2f", "lea {sum}, [{sum} + 0x4]", "2:",
            "jae 2f", "lea {sum}, [{sum} + 0x8]", "2:",
            "je 2f", "lea {sum}, [{sum} + 0x10]", "2:",
            "jne 2f", "lea {sum}, [{sum} + 0x20]", "2:",
            "jbe 2f", "lea {sum}, [{sum} + 0x40]", "2:",
            "ja 2f", "lea {sum}, [{sum} + 0x80]", "2:",
            "js 2f", "lea {sum}, [{sum} + 0x100]", "2:",
            "jns 2f", "lea {sum}, [{sum} + 0x200]", "2:",
            "jp 2f", "lea {sum}, [{sum} + 0x400]", "2:",
            "jnp 2f", "lea {sum}, [{sum} + 0x800]", "2:",
            "jl 2f", "lea {sum}, [{sum} + 0x1000]", "2:",
            "jge 2f", "lea {sum}, [{sum} + 0x2000]", "2:",
            "jle 2f", "lea {sum}, [{sum} + 0x4000]", "2:",
            "jg 2f", "lea {sum}, [{sum} + 0x8000]", "2:",
            inout("rax") overflow => _,
            in("cl") low as u8,
            sum = out(reg) not_taken,
        );
    }
    not_taken
}

/// Instructions of many kinds: jumps by every condition, by tables and through pointers, loops that are instructions, floating point,
/// calls of the C library and of the kernel. Nothing of the allocator, whose heap is another one in each sweep.
#[inline(never)]
fn goes_everywhere(toy: &Toy) {
    let mut numbers: [i64; 40] = core::array::from_fn(|index| (index as i64 * 7919) % 101 - 50);
    numbers.sort_unstable();
    toy.set(0, numbers[0] as u64);
    let steps: [fn(u64) -> u64; 4] =
        [|n| n.rotate_left(7), |n| n.wrapping_mul(31), u64::swap_bytes, |n| u64::from(n.count_ones())];
    let mixed = numbers.iter().enumerate().fold(1, |sum, (index, &number)| {
        let sum = steps[index % 4](sum);
        match number.rem_euclid(9) {
            0 => sum.wrapping_add(1),
            1 => sum ^ 0xff,
            2 => sum >> 1,
            3 => sum.saturating_sub(1000),
            4 => sum | 1 << 40,
            5 => !sum,
            6 => sum.checked_add(u64::MAX / 3).unwrap_or(3),
            7 => (u128::from(sum) * u128::from(sum) % 1_000_003) as u64,
            _ => sum,
        }
    });
    toy.set(1, mixed);
    let text = core::str::from_utf8(b"1.5e3,-2.25,nan").expect("ASCII");
    let sum: f64 = text.split(',').filter_map(|part| part.parse::<f64>().ok()).filter(|part| !part.is_nan()).sum();
    let root = if sum.sqrt() > 38.0 { sum.sqrt() } else { sum.hypot(1.0) };
    toy.set(2, root.to_bits());
    let (mut from, mut to) = ([1u8; 700], [0u8; 700]);
    from[699] = 9;
    // SAFETY: both have as many bytes. (The instruction is one step for each of them.)
    unsafe {
        core::arch::asm!(
            "rep movsb",
            inout("rcx") from.len() => _, inout("rsi") from.as_ptr() => _, inout("rdi") to.as_mut_ptr() => _,
            options(nostack, preserves_flags)
        );
    }
    toy.set(3, to.iter().map(|&byte| u64::from(byte)).sum());
    toy.set(5, (0..32).fold(0u64, |sum, flags| sum.wrapping_mul(3).wrapping_add(conditions(flags))));
    let mut table = [0u64; 4];
    // SAFETY: it jumps to its own end, by the table.
    unsafe {
        core::arch::asm!(
            "lea {to}, [rip + 2f]",
            "mov [{table} + 24], {to}",
            "jmp qword ptr [{table} + {index} * 8]",
            "ud2",
            "2:",
            to = out(reg) _, table = in(reg) table.as_mut_ptr(), index = in(reg) 3u64,
        );
    }
    // SAFETY: strings that end, and no arguments.
    toy.set(4, unsafe { libc::strtoul(c"0x1f".as_ptr(), core::ptr::null_mut(), 16) + libc::getppid() as u64 });
}

/// Many instructions, however they are compiled.
fn counts_up(toy: &Toy) {
    (1..=1000).for_each(|count| toy.set(0, count));
}

fn read_any(_: &Toy) -> Result<&'static str, Finding> {
    Ok("anything")
}

pub fn cases(all: &mut Vec<Case>) {
    all.push(Case::check("engine.stack_and_victim_lie_where_they_were_recorded".into(), |name| {
        let report = Sweep::new(name, &Addresses(Memory::zeroed(4096).expect("memory"))).run()?;
        Ok(report.passed().then(SweepReport::default).ok_or_else(|| report.to_string()))
    }));
    all.push(Case::check("engine.breakpoints_come_by_the_boundaries_that_the_trap_flag_does".into(), |name| {
        let [by_breakpoints, by_flag] = [false, true].map(|flag| {
            // The first one's memory is written to.
            let toy = toy(goes_everywhere, read_any);
            Sweep::new(name, &toy).trap_flag_alone(flag).planted(false).run()
        });
        let (by_breakpoints, by_flag) = (by_breakpoints?, by_flag?);
        let same = by_breakpoints.instructions == by_flag.instructions
            && by_breakpoints.states == by_flag.states
            && by_breakpoints.places == by_flag.places;
        let passed = same && by_flag.passed() && by_flag.instructions > 2000;
        Ok(passed
            .then(SweepReport::default)
            .ok_or_else(|| format!("by breakpoints: {by_breakpoints}\nby the flag: {by_flag}")))
    }));
    for (name, make, how, fits) in CHECKS {
        all.push(Case::check(format!("engine.{name}"), move |name| {
            let toy = make();
            let report = how(Sweep::new(name, &toy)).run()?;
            Ok(fits(&report).then(SweepReport::default).ok_or_else(|| report.to_string()))
        }));
    }
}
