//! A module's file: its bytes as they are loaded, its functions, what its slots will point to, its exception tables.

use super::lines::Lines;
use super::modules::VDSO;
use super::{Address, CodeError, Frame};
use gimli::{BaseAddresses, CieOrFde, EhFrame, EndianSlice, LittleEndian, Pointer, Reader, UnwindSection, constants};
use object::elf::{R_X86_64_64, R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT, R_X86_64_RELATIVE};
use object::read::elf::ElfFile64;
use object::{
    Object, ObjectKind, ObjectSection, ObjectSymbol, ObjectSymbolTable, RelocationFlags, RelocationTarget, SectionKind,
    SymbolKind,
};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

pub(super) type Elf<'f> = ElfFile64<'f>;

/// Where a function lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) range: Range<u64>,
    /// As the symbol table has it.
    pub(super) symbol: Option<String>,
    /// Its exception table.
    lsda: Option<u64>,
}

/// What a call goes to, or a slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// An address of the same module.
    Here(u64),
    /// A symbol of another module.
    Elsewhere(String),
    /// Not known from the code.
    Unknown,
}

#[derive(Debug)]
struct Section {
    range: Range<u64>,
    bytes: Range<usize>,
    executable: bool,
    /// What the linker adds to call functions of other modules.
    stubs: bool,
}

#[derive(Debug)]
pub(super) struct Image {
    module: String,
    bytes: Vec<u8>,
    /// It is loaded at the addresses that it has: not position-independent.
    fixed: bool,
    /// Pointers stand in its data as the file has it: no relocations with addends say what they are.
    pointers_in_place: bool,
    sections: Vec<Section>,
    functions: BTreeMap<u64, Bounds>,
    slots: HashMap<u64, Target>,
    /// None where the module has no file.
    lines: OnceCell<Option<Lines>>,
}

impl Image {
    pub(super) fn open(module: &str) -> Result<Self, CodeError> {
        let mut image = Self {
            module: module.into(),
            bytes: Vec::new(),
            fixed: false,
            pointers_in_place: false,
            sections: Vec::new(),
            functions: BTreeMap::new(),
            slots: HashMap::new(),
            lines: OnceCell::new(),
        };
        if module == VDSO {
            return Ok(image);
        }
        image.bytes = std::fs::read(module).map_err(|source| CodeError::Read { module: module.into(), source })?;
        let file = image.parse()?;
        let functions = functions(&file).map_err(|error| image.error(format!(".eh_frame: {error}")))?;
        let (fixed, sections, slots) = (file.kind() == ObjectKind::Executable, sections(&file), slots(&file));
        let pointers_in_place = fixed || file.section_by_name(".relr.dyn").is_some();
        Ok(Self { fixed, pointers_in_place, sections, functions, slots, ..image })
    }

    fn parse(&self) -> Result<Elf<'_>, CodeError> {
        Elf::parse(&*self.bytes).map_err(|error| self.error(error.to_string()))
    }

    fn error(&self, text: String) -> CodeError {
        CodeError::Parse { module: self.module.clone(), text }
    }

    fn lines(&self) -> Result<Option<&Lines>, CodeError> {
        if self.lines.get().is_none() {
            let lines = match self.bytes.is_empty() {
                true => None,
                false => Some(Lines::new(&self.parse()?).map_err(|text| self.error(text))?),
            };
            let _ = self.lines.set(lines);
        }
        Ok(self.lines.get().and_then(Option::as_ref))
    }

    /// What is at `address`, innermost first; at least one.
    pub(super) fn frames(&self, address: &Address, checkout: &Path) -> Result<Vec<Frame>, CodeError> {
        let at = address.offset();
        let unnamed = || Rc::from(address.short());
        let Some(lines) = self.lines()? else {
            return Ok(vec![Frame { function: unnamed(), file: None, line: None, column: None }]);
        };
        let symbol = self.function(at).and_then(|bounds| bounds.symbol.as_deref());
        let symbol = symbol.map_or_else(unnamed, |symbol| lines.name(symbol));
        lines
            .frames(at, &symbol, checkout)
            .map_err(|error| self.error(format!("debug information of {at:#x}: {error}")))
    }

    /// The function that `address` is in.
    pub(super) fn function(&self, address: u64) -> Option<&Bounds> {
        let (_, bounds) = self.functions.range(..=address).next_back()?;
        bounds.range.contains(&address).then_some(bounds)
    }

    fn section(&self, address: u64) -> Option<&Section> {
        self.sections.iter().find(|section| section.range.contains(&address))
    }

    /// What is loaded at `address`, to the end of its section; nothing where the file has nothing.
    pub(super) fn bytes(&self, address: u64) -> &[u8] {
        let Some(section) = self.section(address) else { return &[] };
        let skip = (address - section.range.start) as usize;
        self.bytes.get(section.bytes.clone()).and_then(|bytes| bytes.get(skip..)).unwrap_or(&[])
    }

    /// Whether instructions name addresses by their numbers.
    pub(super) fn fixed(&self) -> bool {
        self.fixed
    }

    /// Whether `address` is in a section of the file that is no code.
    pub(super) fn is_data(&self, address: u64) -> bool {
        self.section(address).is_some_and(|section| !section.executable)
    }

    /// Whether `address` is in what calls functions of other modules.
    pub(super) fn is_stub(&self, address: u64) -> bool {
        self.section(address).is_some_and(|section| section.stubs)
    }

    /// What the pointer at `address` will be, once the module is loaded.
    pub(super) fn slot(&self, address: u64) -> Target {
        if let Some(target) = self.slots.get(&address) {
            return target.clone();
        }
        // In an executable that is not position-independent the pointer is there already.
        let word = self.bytes(address).first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        if self.function(word).is_some() { Target::Here(word) } else { Target::Unknown }
    }

    /// Functions whose address is in the module's data: they may be called without an instruction that names them.
    pub(super) fn in_data(&self) -> BTreeSet<u64> {
        let data = self.sections.iter().filter(|section| self.pointers_in_place && !section.executable);
        let words = data.flat_map(|section| {
            let bytes = self.bytes.get(section.bytes.clone()).unwrap_or(&[]);
            bytes.chunks_exact(8).filter_map(|bytes| bytes.first_chunk()).map(|bytes| u64::from_le_bytes(*bytes))
        });
        let slots = self.slots.values().filter_map(|target| match target {
            Target::Here(address) => Some(*address),
            _ => None,
        });
        words.chain(slots).filter(|address| self.functions.contains_key(address)).collect()
    }

    /// Where the exception table of a function lets it go on after a panic.
    pub(super) fn landing_pads(&self, bounds: &Bounds) -> Result<Vec<u64>, CodeError> {
        let Some(lsda) = bounds.lsda else { return Ok(Vec::new()) };
        landing_pads(self.bytes(lsda), bounds.range.start)
            .map_err(|error| self.error(format!("exception table at {lsda:#x}: {error}")))
    }
}

fn sections(file: &Elf<'_>) -> Vec<Section> {
    // What is not loaded has no address.
    let loaded = file.sections().filter(|section| section.address() != 0);
    loaded
        .filter_map(|section| {
            let (start, size) = section.file_range()?;
            Some(Section {
                range: section.address()..section.address() + section.size(),
                bytes: start as usize..(start + size) as usize,
                executable: section.kind() == SectionKind::Text,
                stubs: section.name().is_ok_and(|name| name.starts_with(".plt")),
            })
        })
        .collect()
}

/// By the symbols, and by the table of frames: a function may be in one of them alone, and one's end in the other.
fn functions(file: &Elf<'_>) -> Result<BTreeMap<u64, Bounds>, gimli::Error> {
    let mut functions = frames(file)?;
    let dynamic = file.dynamic_symbol_table().map(|table| table.symbols());
    // Of several names the last one counts: those of the full table are better than what is exported.
    for symbol in dynamic.into_iter().flatten().chain(file.symbols()) {
        if symbol.kind() != SymbolKind::Text || !symbol.is_definition() {
            continue;
        }
        let (start, name) = (symbol.address(), symbol.name().unwrap_or_default());
        let end = start + symbol.size();
        let known = functions.get(&start).map(|known| (known.range.end, known.lsda));
        if end > start || known.is_some() {
            let (end, lsda) = known.map_or((end, None), |(known, lsda)| (if end > start { end } else { known }, lsda));
            functions.insert(start, Bounds { range: start..end, symbol: Some(name.into()), lsda });
        }
    }
    Ok(functions)
}

/// The functions of `.eh_frame`.
fn frames(file: &Elf<'_>) -> Result<BTreeMap<u64, Bounds>, gimli::Error> {
    let mut found = BTreeMap::new();
    let Some(section) = file.section_by_name(".eh_frame") else { return Ok(found) };
    let table = EhFrame::new(section.data().unwrap_or(&[]), LittleEndian);
    let address = |name| file.section_by_name(name).map_or(0, |section| section.address());
    let bases =
        BaseAddresses::default().set_eh_frame(section.address()).set_text(address(".text")).set_got(address(".got"));
    let mut entries = table.entries(&bases);
    while let Some(entry) = entries.next()? {
        let CieOrFde::Fde(partial) = entry else { continue };
        let frame = partial.parse(EhFrame::cie_from_offset)?;
        let lsda = match frame.lsda() {
            Some(Pointer::Direct(at)) => Some(at),
            _ => None,
        };
        let start = frame.initial_address();
        if frame.len() > 0 {
            found.insert(start, Bounds { range: start..start + frame.len(), symbol: None, lsda });
        }
    }
    Ok(found)
}

/// What the loader will write where.
fn slots(file: &Elf<'_>) -> HashMap<u64, Target> {
    let symbols = file.dynamic_symbol_table();
    let target = |relocation: &object::Relocation| {
        let RelocationFlags::Elf { r_type } = relocation.flags() else { return None };
        match (r_type, relocation.target()) {
            (R_X86_64_RELATIVE, _) => Some(Target::Here(relocation.addend() as u64)),
            (R_X86_64_GLOB_DAT | R_X86_64_JUMP_SLOT | R_X86_64_64, RelocationTarget::Symbol(index)) => {
                let symbol = symbols.as_ref()?.symbol_by_index(index).ok()?;
                Some(match symbol.is_definition() {
                    true => Target::Here(symbol.address().wrapping_add(relocation.addend() as u64)),
                    false => Target::Elsewhere(symbol.name().ok()?.into()),
                })
            }
            _ => None,
        }
    };
    let relocations = file.dynamic_relocations().into_iter().flatten();
    relocations.filter_map(|(at, relocation)| Some((at, target(&relocation)?))).collect()
}

/// The table that a C++ or Rust personality function reads (LSDA). Of which calls they are does not matter here.
fn landing_pads(table: &[u8], function: u64) -> Result<Vec<u64>, gimli::Error> {
    let mut reader = EndianSlice::new(table, LittleEndian);
    let start_encoding = constants::DwEhPe(reader.read_u8()?);
    if start_encoding != constants::DW_EH_PE_omit {
        return Err(gimli::Error::UnsupportedPointerEncoding(start_encoding));
    }
    if constants::DwEhPe(reader.read_u8()?) != constants::DW_EH_PE_omit {
        reader.read_uleb128()?;
    }
    let encoding = constants::DwEhPe(reader.read_u8()?);
    let length = reader.read_uleb128()? as usize;
    let mut calls = reader.split(length)?;
    let mut pads = BTreeSet::new();
    while !calls.is_empty() {
        let mut offset = || match encoding {
            constants::DW_EH_PE_uleb128 => calls.read_uleb128(),
            constants::DW_EH_PE_udata4 => calls.read_u32().map(u64::from),
            _ => Err(gimli::Error::UnsupportedPointerEncoding(encoding)),
        };
        let (_start, _length, pad) = (offset()?, offset()?, offset()?);
        calls.read_uleb128()?;
        if pad != 0 {
            pads.insert(function + pad);
        }
    }
    Ok(pads.into_iter().collect())
}
