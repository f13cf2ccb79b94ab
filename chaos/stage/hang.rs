//! Where a process hangs, as far as the kernel tells, with its stack in names.

use addr2line::Loader;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ownerdead::sync::time::now;
use std::fs::{File, read_link, read_to_string};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

/// Frames of a stack that are told.
const FRAMES: usize = 10;
/// Bytes of a stack that are looked through for return addresses.
const DEEP: usize = 16 << 10;
/// How long a process may take to stop where it is; it decides nothing but how much is told.
const TO_STOP: Duration = Duration::from_secs(1);

/// State, waiting channel, system call, kernel stack and user stack of a process. A process that runs is stopped for it, and
/// stays so: the scenario is over.
pub fn whereabouts(pid: Pid) -> String {
    let read = |what: &str| read_to_string(format!("/proc/{pid}/{what}")).map(|text| text.trim().to_owned());
    let state = state(pid).map_or_else(|| "gone".to_owned(), String::from);
    let wchan = read("wchan").unwrap_or_default();
    let call = read("syscall").unwrap_or_else(|error| format!("not readable ({error})"));
    let kernel = match read("stack") {
        Ok(stack) => stack.lines().map(function).take(FRAMES).collect::<Vec<_>>().join(" < "),
        Err(error) => format!("not readable ({error})"),
    };
    let at = if call == "running" { stopped_at(pid) } else { call.clone() };
    let user = user_stack(pid, &at).unwrap_or_else(|| "not readable".to_owned());
    format!("state {state}; wchan {wchan}; syscall {call}; kernel stack {kernel}; user stack {user}")
}

/// What a stage that says nothing does, and all its children: from outside, where their roles and phases are not known.
pub fn family(stage: u32) -> String {
    let stage = Pid::from_raw(stage as i32);
    let children = read_to_string(format!("/proc/{stage}/task/{stage}/children")).unwrap_or_default();
    let children = children.split_ascii_whitespace().filter_map(|pid| Some(Pid::from_raw(pid.parse().ok()?)));
    let mut said = format!("[stage {stage}: {}]", whereabouts(stage));
    for child in children {
        said += &format!(" [victim {child}: {}]", whereabouts(child));
    }
    said
}

/// The letter of its state; none if there is no such process.
pub fn state(pid: Pid) -> Option<char> {
    let stat = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything.
    stat.rsplit(')').next()?.trim_start().chars().next()
}

/// Of a line as `[<0>] futex_wait+0x61/0x100`.
fn function(line: &str) -> String {
    line.rsplit(' ').next().and_then(|last| last.split('+').next()).unwrap_or(line).to_owned()
}

fn stopped_at(pid: Pid) -> String {
    let _ = kill(pid, Signal::SIGSTOP);
    let until = now() + TO_STOP;
    while state(pid) == Some('R') && now() < until {
        std::thread::yield_now();
    }
    read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default()
}

/// A part of a process's memory.
struct Area {
    from: u64,
    to: u64,
    code: bool,
    /// Where the first byte of its file is, or would be.
    base: u64,
    file: String,
}

fn areas(pid: Pid) -> Vec<Area> {
    let maps = read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let area = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (from, to) = fields.next()?.split_once('-')?;
        let (rights, offset) = (fields.next()?, fields.next()?);
        let number = |text| u64::from_str_radix(text, 16).ok();
        let (from, to, offset) = (number(from)?, number(to)?, number(offset)?);
        let file = fields.nth(2).unwrap_or("").to_owned();
        Some(Area { from, to, code: rights.contains('x'), base: from.wrapping_sub(offset), file })
    };
    maps.lines().filter_map(area).collect()
}

/// The instruction, and then what on the stack looks like a return address into the program: there are no frame pointers to
/// follow, so some of it may be left over from calls that have returned.
fn user_stack(pid: Pid, call: &str) -> Option<String> {
    let mut last = call.split_ascii_whitespace().rev();
    let mut number = || u64::from_str_radix(last.next()?.strip_prefix("0x")?, 16).ok();
    let (instruction, stack) = (number()?, number()?);
    let (areas, memory) = (areas(pid), File::open(format!("/proc/{pid}/mem")).ok()?);
    let exe = read_link(format!("/proc/{pid}/exe")).ok()?;
    let loader = Loader::new(PathBuf::from("/proc/self/exe")).ok()?;
    let own = |address: u64| {
        areas.iter().find(|area| area.code && (area.from..area.to).contains(&address) && exe.as_os_str() == &*area.file)
    };
    // The program's first segment is at its file's offset 0.
    let base = areas.iter().find(|area| exe.as_os_str() == &*area.file).map(|area| area.base)?;
    let mut told = vec![match own(instruction) {
        Some(_) => name(&loader, instruction - base),
        None => outside(&areas, instruction),
    }];
    let mut bytes = vec![0; DEEP];
    let end = areas.iter().find(|area| (area.from..area.to).contains(&stack)).map_or(stack, |area| area.to);
    bytes.truncate(DEEP.min((end - stack) as usize));
    memory.read_exact_at(&mut bytes, stack).ok()?;
    for word in bytes.chunks_exact(8) {
        let address = u64::from_le_bytes(word.try_into().expect("eight bytes"));
        if told.len() < FRAMES && own(address).is_some() && follows_a_call(&memory, address) {
            told.push(name(&loader, address - base - 1));
        }
    }
    Some(told.join(" < "))
}

/// Whether the instruction before `address` is a call, as far as its bytes tell.
fn follows_a_call(memory: &File, address: u64) -> bool {
    let mut before = [0; 6];
    memory.read_exact_at(&mut before, address - 6).is_ok()
        && (before[1] == 0xe8
            || before[0] == 0xff && before[1] == 0x15
            || before[4] == 0xff && before[5] & 0x38 == 0x10)
}

fn name(loader: &Loader, address: u64) -> String {
    let place = loader.find_location(address).ok().flatten();
    let place = place.and_then(|place| Some((place.file?.rsplit('/').next()?.to_owned(), place.line?)));
    let name = loader.find_symbol(address).map_or_else(
        || format!("{address:#x}"),
        |name| {
            let name = addr2line::demangle_auto(name.into(), None);
            // Without the hash at its end.
            name.rsplit_once("::h").map_or(name.to_string(), |(name, _)| name.to_owned())
        },
    );
    place.map_or(name.clone(), |(file, line)| format!("{name} ({file}:{line})"))
}

/// An address in a library: there its symbols are not looked for.
fn outside(areas: &[Area], address: u64) -> String {
    let area = areas.iter().find(|area| (area.from..area.to).contains(&address));
    let file = area.and_then(|area| area.file.rsplit('/').next()).unwrap_or("?");
    format!("{file}+{:#x}", area.map_or(address, |area| address - area.base))
}
