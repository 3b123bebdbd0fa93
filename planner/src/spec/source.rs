//! The texts that a spec is made of, and places in them.

use std::path::{Path, PathBuf};

/// A range of bytes in one of the [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// Index into [`Sources`].
    pub file: u32,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    pub fn new(file: u32, start: usize, end: usize) -> Self {
        // Texts are limited far below 4 GiB (see `files::MAX_FILE_BYTES`).
        let cut = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            file,
            start: cut(start),
            end: cut(end.max(start)),
        }
    }

    /// From the start of one span to the end of another in the same file.
    pub fn to(self, other: Span) -> Self {
        Self {
            file: self.file,
            start: self.start,
            end: other.end.max(self.end),
        }
    }
}

/// A value and where it stands. Equality is that of the value.
#[derive(Debug, Clone)]
pub struct Sp<T> {
    pub value: T,
    pub span: Span,
}

impl<T> Sp<T> {
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

impl<T: PartialEq> PartialEq for Sp<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Sp<T> {}

impl<T> std::ops::Deref for Sp<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// One text.
#[derive(Debug, Clone)]
pub struct SourceFile {
    pub path: PathBuf,
    pub text: String,
    line_starts: Vec<u32>,
}

impl SourceFile {
    pub fn new(path: PathBuf, text: String) -> Self {
        let mut line_starts = vec![0];
        let newlines = text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
        line_starts.extend(newlines.map(|(i, _)| u32::try_from(i + 1).unwrap_or(u32::MAX)));
        Self {
            path,
            text,
            line_starts,
        }
    }

    /// The folder that relative paths in the file are meant from.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Line of a byte, counted from 0.
    pub fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|s| *s as usize <= offset) - 1
    }

    /// Offset of a line's first byte; lines are counted from 0.
    pub fn line_start(&self, line: usize) -> usize {
        self.line_starts
            .get(line)
            .map_or(self.text.len(), |s| *s as usize)
    }

    /// A line without its end.
    pub fn line_text(&self, line: usize) -> &str {
        let end = self.line_start(line + 1);
        self.text[self.line_start(line)..end].trim_end_matches(['\n', '\r'])
    }
}

/// All texts that were read, in reading order.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    files: Vec<SourceFile>,
}

impl Sources {
    /// Keeps a text and returns its index.
    pub fn add(&mut self, path: PathBuf, text: String) -> u32 {
        self.files.push(SourceFile::new(path, text));
        u32::try_from(self.files.len() - 1).expect("fewer than 4 billion files")
    }

    pub fn get(&self, file: u32) -> &SourceFile {
        &self.files[file as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter()
    }

    pub fn len(&self) -> usize {
        self.files.len()
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}
