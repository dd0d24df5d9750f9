//! A Rust file as the rules see it: code apart from comments and texts, tests apart from the rest.
//!
//! ```text
//! let a = "std::fs"; // a file          as it stands
//! let a = "       ";                    its code
//!                    // a file          its comments
//! ```
//!
//! This is no parser: it knows comments, literals, braces and attributes, nothing of types or macros.

/// One file, taken apart. The parts have the same lines as the file.
#[derive(Debug)]
pub(crate) struct Source {
    /// The lines as they stand.
    pub(crate) lines: Vec<String>,
    /// The lines without comments and without the insides of literals.
    pub(crate) code: Vec<String>,
    /// The lines with nothing but comments.
    pub(crate) comments: Vec<String>,
    /// Whether a line belongs to a test.
    pub(crate) is_test: Vec<bool>,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// Where it begins, counted from 1.
    pub(crate) line: usize,
    /// From `fn` to the closing brace.
    pub(crate) lines_count: usize,
}

impl Source {
    /// Takes a file apart.
    pub(crate) fn parse(path: &str, text: &str) -> Source {
        let (code, comments) = split(text);
        let lines = |text: &str| text.split('\n').map(str::to_owned).collect::<Vec<_>>();
        let is_test_file =
            path.split('/').any(|part| matches!(part, "tests" | "benches" | "examples"))
                || path.ends_with("/tests.rs");
        let is_test = match is_test_file {
            true => vec![true; lines(text).len()],
            false => test_lines(&code),
        };
        Source { lines: lines(text), code: lines(&code), comments: lines(&comments), is_test }
    }

    /// Lines of code, with their numbers from 1.
    pub(crate) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.iter().enumerate().map(|(index, line)| (index + 1, line.as_str()))
    }

    /// Whether this line, counted from 1, belongs to a test.
    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        line.checked_sub(1).and_then(|index| self.is_test.get(index)).copied().unwrap_or(false)
    }

    /// The functions that have a body.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let code = self.code.join("\n");
        let mut functions = Vec::new();
        for (start, _) in code.match_indices("fn ") {
            let is_word = code[..start].chars().next_back().is_none_or(|c| !is_name(c));
            let name: String = code[start + 3..].chars().take_while(|c| is_name(*c)).collect();
            let Some(end) = item_end(&code, start) else { continue };
            if !is_word || name.is_empty() || !code[start..end].ends_with('}') {
                continue;
            }
            let line = line_of(&code, start);
            functions.push(Function { name, line, lines_count: line_of(&code, end) - line + 1 });
        }
        functions
    }
}

/// Whether a character may stand in a name.
pub(crate) fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Where an item that starts here ends: after its `;` or its closing brace.
fn item_end(code: &str, start: usize) -> Option<usize> {
    let (mut braces, mut brackets) = (0_u32, 0_u32);
    for (offset, character) in code[start..].char_indices() {
        match character {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.checked_sub(1)?,
            '{' => braces += 1,
            '}' => {
                braces = braces.checked_sub(1)?;
                if braces == 0 && brackets == 0 {
                    return Some(start + offset + 1);
                }
            }
            ';' if braces == 0 && brackets == 0 => return Some(start + offset + 1),
            _ => {}
        }
    }
    None
}

/// Marks items under `#[cfg(test)]` and `#[test]`, and under what ends in `::test]`.
fn test_lines(code: &str) -> Vec<bool> {
    let mut marked = vec![false; code.split('\n').count()];
    for attribute in ["#[cfg(test)]", "#[test]", "#[cfg(all(test", "proptest! {"] {
        for (start, _) in code.match_indices(attribute) {
            let after = start + if attribute.starts_with('#') { attribute.len() } else { 0 };
            let Some(end) = item_end(code, skip_attribute(code, after)) else { continue };
            for line in line_of(code, start)..=line_of(code, end) {
                marked[line - 1] = true;
            }
        }
    }
    marked
}

/// Past the end of an attribute that was only begun, and past those that follow it.
fn skip_attribute(code: &str, at: usize) -> usize {
    let rest = &code[at..];
    let next = rest.trim_start();
    if next.starts_with("#[") || next.starts_with(',') {
        return rest.find(']').map_or(at, |end| skip_attribute(code, at + end + 1));
    }
    at
}

/// Parts code and comments; both keep the lines and columns of the text.
fn split(text: &str) -> (String, String) {
    let (mut code, mut comments) = (String::new(), String::new());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, part) = token(rest, code.chars().next_back());
        let (piece, after) = rest.split_at(length.max(first.len_utf8()));
        for character in piece.chars() {
            let blank = if character == '\n' { '\n' } else { ' ' };
            code.push(if part == Part::Code { character } else { blank });
            comments.push(if part == Part::Comment { character } else { blank });
        }
        rest = after;
    }
    (code, comments)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Code,
    Comment,
    Literal,
}

/// The length of what stands at the start, in bytes, and what it is.
fn token(rest: &str, before: Option<char>) -> (usize, Part) {
    let starts_word = before.is_none_or(|c| !is_name(c));
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), Part::Comment);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), Part::Comment);
    }
    if let Some(length) = raw_literal(rest).filter(|_| starts_word) {
        return (length, Part::Literal);
    }
    if rest.starts_with('"') {
        return (quoted(rest, '"'), Part::Literal);
    }
    let mut characters = rest.chars();
    if characters.next() == Some('\'') {
        let is_escape = characters.next() == Some('\\');
        // 'a' is a literal, 'a is a lifetime.
        let is_literal = is_escape || characters.next() == Some('\'');
        return if is_literal { (quoted(rest, '\''), Part::Literal) } else { (1, Part::Code) };
    }
    (1, Part::Code)
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_u32;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

fn raw_literal(text: &str) -> Option<usize> {
    let start = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = start.len() - start.trim_start_matches('#').len();
    let inside = start[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = inside.find(&close)?;
    Some(text.len() - inside.len() + end + close.len())
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (offset, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return offset + character.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[test]
fn literals_and_comments_are_not_code() {
    let text = "let a = \"std::fs\"; // std::net\nlet b = r#\"\"x\"#; /* tokio /* */ */ let c = '\"';\nfn d<'a>() {}";
    let source = Source::parse("a.rs", text);
    let code = source.code.join("\n");
    for hidden in ["std", "tokio", "x"] {
        assert!(!code.contains(hidden), "{code}");
    }
    assert!(code.contains("let c =") && code.contains("fn d<'a>() {}"), "{code}");
    assert!(source.comments[0].contains("// std::net"), "{:?}", source.comments);
}

#[test]
fn tests_are_told_apart_from_what_they_test() {
    let text =
        "fn a() {\n}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[test]\nfn d() {\n}";
    let source = Source::parse("crates/a/src/lib.rs", text);
    assert_eq!(
        source.is_test.iter().map(|is| u8::from(*is)).collect::<Vec<_>>(),
        [0, 0, 1, 1, 1, 1, 0, 1, 1, 1]
    );
    assert!(Source::parse("crates/a/tests/b.rs", "fn a() {}").is_test_line(1));
}

#[test]
fn functions_are_measured_from_name_to_closing_brace() {
    let text = "trait A {\n    fn a(&self) -> [u8; 2];\n    fn b(&self) {\n        if true {\n        }\n    }\n}";
    let functions = Source::parse("a.rs", text).functions();
    assert_eq!(functions, [Function { name: "b".to_owned(), line: 3, lines_count: 4 }]);
}
