//! The comments and blank lines of a text, to be put back when it is written anew.

use std::collections::VecDeque;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// Offset of its first character.
    pub start: usize,
    /// Line on which it starts, from 0.
    pub line: usize,
    /// Column at which it starts, in bytes from 0.
    pub column: usize,
    pub text: String,
    /// Nothing else stands before it on its line.
    pub own_line: bool,
    pub blank_above: bool,
}

/// A text's layout, used up while the text is written anew.
#[derive(Debug, Clone)]
pub struct Layout<'a> {
    text: &'a str,
    line_starts: Vec<usize>,
    comments: VecDeque<Comment>,
}

impl<'a> Layout<'a> {
    /// `scan` finds the comments: given the text and an offset outside of any scalar, the length
    /// of the comment that starts there.
    pub fn new(
        text: &'a str,
        mut scalars: Vec<(usize, usize)>,
        scan: impl Fn(&str, usize) -> Option<usize>,
    ) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
        let mut line_starts = vec![0];
        line_starts.extend(newlines.map(|(i, _)| i + 1));
        let mut layout = Self {
            text,
            line_starts,
            comments: VecDeque::new(),
        };
        scalars.sort_unstable();
        let mut skip = scalars.into_iter().peekable();
        let mut at = 0;
        while at < text.len() {
            while skip.peek().is_some_and(|(_, end)| *end <= at) {
                skip.next();
            }
            if let Some((start, end)) = skip.peek()
                && *start <= at
            {
                at = *end;
                continue;
            }
            if !text.is_char_boundary(at) {
                at += 1;
                continue;
            }
            match scan(text, at) {
                Some(length) => {
                    let comment = layout.comment(at, length);
                    layout.comments.push_back(comment);
                    at += length.max(1);
                }
                None => at += 1,
            }
        }
        layout
    }

    fn comment(&self, start: usize, length: usize) -> Comment {
        let line = self.line_of(start);
        let before = &self.text[self.line_starts[line]..start];
        let text = self.text[start..start + length].trim_end();
        Comment {
            start,
            line,
            column: before.len(),
            text: text.replace("\r\n", "\n"),
            own_line: before.trim().is_empty(),
            blank_above: self.blank_above(start),
        }
    }

    pub fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|s| *s <= offset) - 1
    }

    pub fn line_start(&self, line: usize) -> usize {
        self.line_starts
            .get(line)
            .copied()
            .unwrap_or(self.text.len())
    }

    /// Whether the line above that of `offset` is blank.
    pub fn blank_above(&self, offset: usize) -> bool {
        let line = self.line_of(offset);
        line > 0
            && self.text[self.line_starts[line - 1]..self.line_starts[line]]
                .trim()
                .is_empty()
    }

    /// Whether any comment starts in a range.
    pub fn has_within(&self, start: usize, end: usize) -> bool {
        self.comments
            .iter()
            .any(|c| (start..end).contains(&c.start))
    }

    /// Takes the next comment if it fits.
    pub fn take_if(&mut self, fits: impl Fn(&Comment) -> bool) -> Option<Comment> {
        if self.comments.front().is_some_and(fits) {
            return self.comments.pop_front();
        }
        None
    }

    /// All comments' texts, sorted: what must be the same after formatting.
    pub fn texts(&self) -> Vec<String> {
        let mut texts: Vec<_> = self
            .comments
            .iter()
            // A comment of several lines may be indented anew.
            .map(|c| c.text.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        texts.sort();
        texts
    }
}
