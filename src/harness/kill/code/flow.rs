//! Which parts of a function can be come by, and what becomes of those that come there.

use super::body::{Body, Flow};
use super::image::Target;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

/// Instructions that are executed one after the other.
#[derive(Debug)]
struct Block {
    /// Indices into the body's instructions.
    instructions: Range<usize>,
    /// The block behind it, if there is no gap.
    next: Option<usize>,
}

/// The blocks of a function.
#[derive(Debug)]
pub(super) struct Blocks {
    blocks: Vec<Block>,
    by_start: HashMap<u64, usize>,
}

/// What is known of the blocks of a function, by the index of the block.
#[derive(Debug)]
pub(super) struct Known {
    /// It can be come by from the entry.
    pub(super) entered: Vec<bool>,
    /// It can be come by after a panic.
    pub(super) landed: Vec<bool>,
    /// Whoever comes there ends in a call that does not return, or an instruction that raises an exception.
    pub(super) doomed: Vec<bool>,
    /// The function can return, or goes where that is not known.
    pub(super) returns: bool,
    /// The blocks that it goes on in.
    pub(super) next: Vec<Vec<usize>>,
}

/// Where a block goes on.
#[derive(Default)]
struct Edges {
    blocks: Vec<usize>,
    /// Out of the function, as one that returns.
    leaves: bool,
    /// In a call that does not return.
    ends: bool,
}

impl Blocks {
    pub(super) fn new(body: &Body) -> Self {
        let mut starts: BTreeSet<u64> = body.pads.iter().copied().collect();
        for instruction in &body.instructions {
            match &instruction.flow {
                Flow::Next => continue,
                Flow::Jump(target) | Flow::Branch(target) => drop(starts.insert(*target)),
                Flow::Table(targets) => starts.extend(targets),
                _ => {}
            }
            starts.insert(instruction.end());
        }
        let mut blocks: Vec<Block> = Vec::new();
        let mut behind = None;
        for (index, instruction) in body.instructions.iter().enumerate() {
            let adjacent = behind == Some(instruction.at);
            let number = blocks.len();
            match blocks.last_mut() {
                Some(block) if adjacent && !starts.contains(&instruction.at) => block.instructions.end += 1,
                last => {
                    if let Some(block) = last.filter(|_| adjacent) {
                        block.next = Some(number);
                    }
                    blocks.push(Block { instructions: index..index + 1, next: None });
                }
            }
            behind = Some(instruction.end());
        }
        let start = |block: &Block| body.instructions[block.instructions.start].at;
        let by_start = blocks.iter().enumerate().map(|(number, block)| (start(block), number)).collect();
        Self { blocks, by_start }
    }

    /// The block that has this instruction of the body's.
    pub(super) fn of(&self, body: &Body, at: u64) -> Option<usize> {
        let index = body.instructions.binary_search_by_key(&at, |instruction| instruction.at).ok()?;
        self.blocks.iter().position(|block| block.instructions.contains(&index))
    }

    /// Indices into the body's instructions, of each block.
    pub(super) fn instructions(&self) -> impl Iterator<Item = Range<usize>> {
        self.blocks.iter().map(|block| block.instructions.clone())
    }

    /// What is known if calls return as `returns` says, and the function is entered at `entries`.
    pub(super) fn know(&self, body: &Body, entries: &BTreeSet<u64>, returns: &dyn Fn(&Target) -> bool) -> Known {
        let edges: Vec<Edges> = self.blocks.iter().map(|block| self.edges(body, block, returns)).collect();
        let mut back = vec![Vec::new(); edges.len()];
        for (from, edges) in edges.iter().enumerate() {
            edges.blocks.iter().for_each(|&to| back[to].push(from));
        }
        let forth = |from: &[u64]| {
            let blocks = from.iter().filter_map(|at| self.by_start.get(at)).copied();
            reach(edges.len(), blocks, |block| &edges[block].blocks)
        };
        let all = |wanted: &dyn Fn(usize) -> bool| {
            reach(edges.len(), (0..edges.len()).filter(|&block| wanted(block)), |block| &back[block])
        };
        let entered = forth(&entries.iter().copied().collect::<Vec<_>>());
        let landed = forth(&body.pads);
        let comes_back = all(&|block| edges[block].leaves);
        let comes_to_an_end = all(&|block| edges[block].ends);
        // A loop without a way out is no end.
        let stays = all(&|block| !comes_back[block] && !comes_to_an_end[block]);
        let doomed = (0..edges.len()).map(|block| !comes_back[block] && !stays[block]).collect();
        let returns = entered.iter().zip(&edges).any(|(&entered, edges)| entered && edges.leaves);
        let next = edges.into_iter().map(|edges| edges.blocks).collect();
        Known { entered, landed, doomed, returns, next }
    }

    fn edges(&self, body: &Body, block: &Block, returns: &dyn Fn(&Target) -> bool) -> Edges {
        let mut edges = Edges::default();
        let last = &body.instructions[block.instructions.end - 1];
        let to = |edges: &mut Edges, at: u64| match self.by_start.get(&at) {
            Some(&block) => edges.blocks.push(block),
            // Into another function, or into an instruction.
            None => edges.leaves = true,
        };
        let next = |edges: &mut Edges| match block.next {
            Some(next) => edges.blocks.push(next),
            None => edges.leaves = true,
        };
        match &last.flow {
            Flow::Next => next(&mut edges),
            Flow::Jump(target) => to(&mut edges, *target),
            Flow::Branch(target) => {
                to(&mut edges, *target);
                next(&mut edges);
            }
            // One with nothing behind it does not return: the compiler knew.
            Flow::Call(target) if returns(target) && !self.is_last(body, block) => next(&mut edges),
            Flow::Call(_) => edges.ends = true,
            Flow::Tail(target) if returns(target) => edges.leaves = true,
            Flow::Tail(_) | Flow::Stop => edges.ends = true,
            Flow::Table(targets) => targets.iter().for_each(|&target| to(&mut edges, target)),
            Flow::Indirect => edges = Edges { blocks: (0..self.blocks.len()).collect(), leaves: true, ends: false },
            Flow::Return => edges.leaves = true,
        }
        edges
    }

    /// Whether all that follows in the function is padding.
    fn is_last(&self, body: &Body, block: &Block) -> bool {
        body.instructions[block.instructions.end..].iter().all(|instruction| instruction.padding)
    }
}

/// All that can be come by from `from`, itself included.
fn reach<'e>(count: usize, from: impl Iterator<Item = usize>, edges: impl Fn(usize) -> &'e Vec<usize>) -> Vec<bool> {
    let mut reached = vec![false; count];
    let mut work: Vec<usize> = from.collect();
    while let Some(block) = work.pop() {
        if !std::mem::replace(&mut reached[block], true) {
            work.extend(edges(block));
        }
    }
    reached
}
