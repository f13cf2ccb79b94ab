//! Every instruction that operations have: their functions, and those that these call.

use super::body::{Body, Decoded, Flow};
use super::flow::{Blocks, Known};
use super::image::{Bounds, Image, Target};
use super::region::Piece;
use super::{Address, Code, CodeError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// Functions of other modules that do not return. (Of those of the same module it is seen.)
const NEVER_RETURN: &[&str] = &[
    "_Exit",
    "_Unwind_Resume",
    "__assert_fail",
    "__chk_fail",
    "__cxa_rethrow",
    "__cxa_throw",
    "__longjmp_chk",
    "__stack_chk_fail",
    "_exit",
    "_longjmp",
    "abort",
    "exit",
    "longjmp",
    "pthread_exit",
    "quick_exit",
    "siglongjmp",
];

/// Whether a source file is ours.
type Ours<'o> = dyn Fn(&Path) -> bool + 'o;

/// The line of ours of each instruction of a function, and whether the compiler gives it one itself.
type Sources = (Vec<Option<Rc<Source>>>, Vec<bool>);

/// A line of source that is ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The innermost function of ours.
    pub function: Rc<str>,
    /// The outermost of ours that it is inlined into, or itself: the public operation, often.
    pub operation: Rc<str>,
    /// Its file, relative to the checkout if it lies there.
    pub file: Rc<Path>,
    /// From 1.
    pub line: u32,
    /// File and line of ours where it is inlined, and so on outwards.
    pub callers: Rc<[(Rc<Path>, u32)]>,
}

impl Source {
    /// Its file and line; and of each other file that it is inlined into, the innermost line.
    pub fn lines(&self) -> impl Iterator<Item = (&Rc<Path>, u32)> {
        let all =
            || std::iter::once((&self.file, self.line)).chain(self.callers.iter().map(|(file, line)| (file, *line)));
        all()
            .enumerate()
            .filter(move |(index, (file, _))| all().take(*index).all(|(inner, _)| inner != *file))
            .map(|(_, line)| line)
    }
}

/// Why an operation that does not panic never executes an instruction. Proved from the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unreached {
    /// Whoever comes there ends in a call that does not return, or in an instruction that raises an exception.
    Panic,
    /// It is come by after a panic alone.
    Unwinding,
    /// It is come by in no way: the compiler has left it behind a call that does not return.
    Nowhere,
}

impl Unreached {
    /// As it stands in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic path",
            Self::Unwinding => "unwinding",
            Self::Nowhere => "nothing goes there",
        }
    }
}

impl core::fmt::Display for Unreached {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An instruction of the closure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The line of ours; none in code of others that is inlined around ours.
    pub source: Option<Rc<Source>>,
    /// It does nothing, and does not count: between blocks, or to align the next one.
    pub padding: bool,
    /// Why it is not reached, if that is proved.
    pub unreached: Option<Unreached>,
}

/// Functions with code of ours in them, and their instructions.
#[derive(Clone, Debug, Default)]
pub struct Functions {
    /// Each instruction of them.
    pub instructions: BTreeMap<Address, Instruction>,
    /// Their names.
    pub inside: BTreeSet<Rc<str>>,
    /// Functions that they, or others, call, and that have nothing of ours.
    pub outside: BTreeSet<Rc<str>>,
    /// Where those inside lie: from their first byte, up to this offset.
    bounds: BTreeMap<Address, u64>,
    /// How control goes through all of them, those outside too.
    pub(super) pieces: Vec<Piece>,
}

impl Functions {
    /// Whether `address` is in one of them, at an instruction or not.
    pub(super) fn surround(&self, address: &Address) -> bool {
        let before = self.bounds.range(..=address).next_back();
        before.is_some_and(|(start, &end)| start.module() == address.module() && address.offset() < end)
    }
}

impl Code {
    /// Every instruction of the functions that the `roots` are in, and of those that they call, directly or through others, and
    /// in which anything is `ours`: said of a source file, relative to the checkout if it lies there. A function whose address is
    /// taken counts as called.
    ///
    /// # Errors
    /// [`CodeError::NoFunction`] for a root; [`CodeError::Read`], [`CodeError::Parse`].
    pub fn closure<'a>(
        &self,
        roots: impl IntoIterator<Item = &'a Address>,
        ours: impl Fn(&Path) -> bool,
    ) -> Result<Functions, CodeError> {
        let mut modules: BTreeMap<&Arc<str>, BTreeSet<u64>> = BTreeMap::new();
        for root in roots {
            modules.entry(root.module()).or_default().insert(root.offset());
        }
        let mut functions = Functions::default();
        for (module, roots) in modules {
            let image = self.image(module)?;
            let mut graph = Graph { module, image: &image, nodes: BTreeMap::new() };
            let roots = graph.explore(&roots)?;
            graph.settle_returns();
            let known = graph.know();
            let reached = graph.reached(&roots, &known);
            let mut sources = BTreeMap::new();
            for (start, node) in &graph.nodes {
                let why = graph.unreached(*start, &known[start], &reached);
                sources.insert(*start, self.take(node, &why, (module, &ours), &mut functions)?);
            }
            graph.pieces((&roots, &known, &reached), &sources, &mut functions.pieces);
        }
        Ok(functions)
    }

    /// Adds a function, if there is anything of ours in it.
    fn take(
        &self,
        node: &Node,
        unreached: &[Option<Unreached>],
        (module, ours): (&Arc<str>, &Ours<'_>),
        functions: &mut Functions,
    ) -> Result<Sources, CodeError> {
        let address = |offset| Address::new(module.clone(), offset);
        let sources = node.body.instructions.iter().map(|instruction| self.source(&address(instruction.at), ours));
        let sources: Vec<_> = sources.collect::<Result<_, _>>()?;
        let lines = node.body.instructions.iter().map(|instruction| self.has_line(&address(instruction.at)));
        let lines = lines.collect::<Result<_, _>>()?;
        let name = self.lookup(&address(node.body.range.start))?.pop().map(|outermost| outermost.function);
        if sources.iter().all(Option::is_none) {
            functions.outside.extend(name);
            return Ok((sources, lines));
        }
        functions.inside.extend(name);
        functions.bounds.insert(address(node.body.range.start), node.body.range.end);
        for (instructions, &unreached) in node.blocks.instructions().zip(unreached) {
            for index in instructions {
                let Decoded { at, padding, .. } = node.body.instructions[index];
                let source = sources[index].clone();
                functions.instructions.insert(address(at), Instruction { source, padding, unreached });
            }
        }
        Ok((sources, lines))
    }

    /// Whether the compiler gives an instruction a line.
    fn has_line(&self, address: &Address) -> Result<bool, CodeError> {
        let frames = self.image(address.module())?.frames(address, &self.checkout)?;
        Ok(frames[0].line.is_some())
    }

    /// The line of ours that an instruction stands for. One that the compiler gives no line has that of the code before it.
    ///
    /// # Errors
    /// As [`Code::lookup`].
    pub fn source(&self, address: &Address, ours: impl Fn(&Path) -> bool) -> Result<Option<Rc<Source>>, CodeError> {
        let image = self.image(address.module())?;
        let start = image.function(address.offset()).map_or(address.offset(), |bounds| bounds.range.start);
        for at in (start..=address.offset()).rev() {
            let mut frames = image.frames(&Address::new(address.module().clone(), at), &self.checkout)?;
            // Without a line the file is that of what was inlined there, which is not always that of the function.
            if frames[0].line.is_none() && frames[0].file.is_some() {
                continue;
            }
            frames.retain(|frame| frame.file.as_deref().is_some_and(&ours));
            let Some(operation) = frames.last().map(|outermost| outermost.function.clone()) else { return Ok(None) };
            let callers = frames.split_off(1).into_iter().filter_map(|frame| frame.file.zip(frame.line)).collect();
            let innermost = frames.swap_remove(0);
            let (Some(file), Some(line)) = (innermost.file, innermost.line) else { return Ok(None) };
            return Ok(Some(Rc::new(Source { function: innermost.function, operation, file, line, callers })));
        }
        Ok(None)
    }
}

/// Whether an instruction chooses between ways to go on.
fn decides(flow: &Flow) -> bool {
    matches!(flow, Flow::Branch(_) | Flow::Table(_) | Flow::Indirect)
}

/// Functions of a module, and who calls whom.
struct Graph<'g> {
    module: &'g Arc<str>,
    image: &'g Image,
    /// By where they start.
    nodes: BTreeMap<u64, Node>,
}

struct Node {
    body: Body,
    blocks: Blocks,
    /// Where it is entered: where it starts, mostly.
    entries: BTreeSet<u64>,
    returns: bool,
}

impl Node {
    fn new(image: &Image, bounds: &Bounds) -> Result<Self, CodeError> {
        let body = Body::decode(image, bounds)?;
        let blocks = Blocks::new(&body);
        Ok(Self { blocks, entries: BTreeSet::from([body.range.start]), body, returns: false })
    }

    /// What an instruction calls, or may let others call.
    fn callees(&self, instruction: &Decoded) -> impl Iterator<Item = u64> {
        let called = match &instruction.flow {
            Flow::Call(Target::Here(to)) | Flow::Tail(Target::Here(to)) => Some(*to),
            Flow::Branch(to) if !self.body.range.contains(to) => Some(*to),
            _ => None,
        };
        called.into_iter().chain(instruction.takes)
    }
}

/// Functions that are called by who does not panic, and those that are called by whom at all.
struct Reached {
    live: BTreeSet<u64>,
    before_unwinding: BTreeSet<u64>,
}

impl Reached {
    /// Why no instruction of a function is come by.
    fn of(&self, function: u64) -> Option<Unreached> {
        match (self.live.contains(&function), self.before_unwinding.contains(&function)) {
            (true, _) => None,
            (false, true) => Some(Unreached::Panic),
            (false, false) => Some(Unreached::Unwinding),
        }
    }
}

impl Graph<'_> {
    /// Decodes all that is called from the `roots`; where their functions start.
    fn explore(&mut self, roots: &BTreeSet<u64>) -> Result<BTreeSet<u64>, CodeError> {
        let start_of = |root: &u64| {
            let bounds = self.image.function(*root);
            bounds
                .map(|bounds| bounds.range.start)
                .ok_or_else(|| CodeError::NoFunction { address: Address::new(self.module.clone(), *root) })
        };
        let roots = roots.iter().filter(|&&root| !self.image.is_stub(root));
        let starts: BTreeSet<u64> = roots.map(start_of).collect::<Result<_, _>>()?;
        let mut work: Vec<u64> = starts.iter().copied().collect();
        while let Some(entry) = work.pop() {
            let Some(bounds) = self.image.function(entry) else { continue };
            if let Some(node) = self.nodes.get_mut(&bounds.range.start) {
                node.entries.insert(entry);
                continue;
            }
            let mut node = Node::new(self.image, bounds)?;
            node.entries.insert(entry);
            work.extend(node.body.instructions.iter().flat_map(|instruction| node.callees(instruction)));
            self.nodes.insert(bounds.range.start, node);
        }
        Ok(starts)
    }

    /// Whether what is called returns, as far as it is known by now.
    fn returns(&self, target: &Target) -> bool {
        match target {
            Target::Here(at) => self.start(*at).is_none_or(|start| self.nodes[&start].returns),
            Target::Elsewhere(name) => !NEVER_RETURN.contains(&name.as_str()),
            Target::Unknown => true,
        }
    }

    /// Where the function that `at` is in starts, if it was decoded.
    fn start(&self, at: u64) -> Option<u64> {
        let (&start, node) = self.nodes.range(..=at).next_back()?;
        node.body.range.contains(&at).then_some(start)
    }

    /// A function returns if it can come to its end by calls that return: the least set for which that holds.
    fn settle_returns(&mut self) {
        loop {
            let settled = self.nodes.iter().filter(|(_, node)| !node.returns).filter_map(|(&start, node)| {
                let returns = |target: &Target| self.returns(target);
                node.blocks.know(&node.body, &node.entries, &returns).returns.then_some(start)
            });
            let settled: Vec<u64> = settled.collect();
            if settled.is_empty() {
                return;
            }
            for start in settled {
                self.nodes.get_mut(&start).expect("one of the nodes").returns = true;
            }
        }
    }

    fn know(&self) -> BTreeMap<u64, Known> {
        let know = |node: &Node| node.blocks.know(&node.body, &node.entries, &|target: &Target| self.returns(target));
        self.nodes.iter().map(|(&start, node)| (start, know(node))).collect()
    }

    /// Functions that a table in the data names may be called by anyone.
    fn reached(&self, roots: &BTreeSet<u64>, known: &BTreeMap<u64, Known>) -> Reached {
        let in_data = self.image.in_data();
        let roots = roots.union(&in_data).copied().filter(|start| self.nodes.contains_key(start));
        let live = self.called(roots.collect(), &|start, block| {
            let known = &known[&start];
            known.entered[block] && !known.doomed[block]
        });
        let before_unwinding =
            self.called(live.iter().copied().collect(), &|start, block| known[&start].entered[block]);
        Reached { live, before_unwinding }
    }

    /// Why no instruction of each block of a function is come by.
    fn unreached(&self, start: u64, known: &Known, reached: &Reached) -> Vec<Option<Unreached>> {
        let called = reached.of(start);
        let of_block = |block: usize| match (known.entered[block], known.landed[block]) {
            (true, _) => known.doomed[block].then_some(Unreached::Panic),
            (false, true) => Some(Unreached::Unwinding),
            (false, false) => Some(Unreached::Nowhere),
        };
        (0..known.entered.len()).map(|block| called.or(of_block(block))).collect()
    }

    /// Adds the blocks of all functions, and where each goes on, in its function or in one that it calls.
    fn pieces(
        &self,
        (roots, known, reached): (&BTreeSet<u64>, &BTreeMap<u64, Known>, &Reached),
        sources: &BTreeMap<u64, Sources>,
        pieces: &mut Vec<Piece>,
    ) {
        let in_data = self.image.in_data();
        let mut number = pieces.len();
        let mut bases = BTreeMap::new();
        for (&start, known) in known {
            bases.insert(start, number);
            number += known.entered.len();
        }
        let piece_at = |at: u64| {
            let start = self.start(at)?;
            let node = &self.nodes[&start];
            Some(bases[&start] + node.blocks.of(&node.body, at)?)
        };
        for (start, node) in &self.nodes {
            let (known, (sources, lines), base) = (&known[start], &sources[start], bases[start]);
            let unreached = self.unreached(*start, known, reached);
            for (block, range) in node.blocks.instructions().enumerate() {
                let instructions = &node.body.instructions[range.clone()];
                let (first, last) = (&instructions[0], &instructions[instructions.len() - 1]);
                let called = instructions.iter().flat_map(|instruction| node.callees(instruction)).filter_map(piece_at);
                pieces.push(Piece {
                    start: Address::new(self.module.clone(), first.at),
                    end: Address::new(self.module.clone(), last.end()),
                    first: sources[range.clone().find(|&index| lines[index]).unwrap_or(range.start)].clone(),
                    branch: sources[range.end - 1].clone().filter(|_| decides(&last.flow)),
                    next: known.next[block].iter().map(|next| base + next).chain(called).collect(),
                    proved: unreached[block].is_some(),
                    by_others: first.at == *start && (roots.contains(start) || in_data.contains(start)),
                });
            }
        }
    }

    /// All that is called from `work`, by blocks that are `followed`.
    fn called(&self, mut work: Vec<u64>, followed: &dyn Fn(u64, usize) -> bool) -> BTreeSet<u64> {
        let mut called = BTreeSet::new();
        while let Some(start) = work.pop() {
            if !called.insert(start) {
                continue;
            }
            let node = &self.nodes[&start];
            let blocks = node.blocks.instructions().enumerate().filter(|&(block, _)| followed(start, block));
            let instructions = blocks.flat_map(|(_, instructions)| &node.body.instructions[instructions]);
            let callees = instructions.flat_map(|instruction| node.callees(instruction));
            work.extend(callees.filter_map(|callee| self.start(callee)));
        }
        called
    }
}
