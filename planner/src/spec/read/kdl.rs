//! KDL into a tree.
use crate::spec::diag::Problems;
use crate::spec::source::SourceFile;
use crate::spec::tree::Node;

pub fn read(file: u32, _source: &SourceFile, problems: &mut Problems) -> Option<Node> {
    let at = crate::spec::source::Span::new(file, 0, 1);
    problems.error("kdl", at, "KDL is not read yet");
    None
}
