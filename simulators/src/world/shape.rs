//! Makes codes that fit a carrier's number shape: a shape is a regular expression, read here backwards.
//!
//! Only what number shapes use is understood: literals, classes, `\d`, groups, alternatives, counted
//! repeats. A shape with anything else gives `None`, and the caller takes another.

use rand::Rng;

/// Repeats without an upper bound stop here.
const LONGEST_OPEN_REPEAT: u32 = 4;

/// Deepest nesting of groups that is followed.
const DEEPEST: usize = 16;

/// A shape, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    /// One of these characters.
    One(Vec<char>),
    /// All of these, in order.
    All(Vec<Node>),
    /// One of these.
    Either(Vec<Node>),
    /// This, so many times.
    Repeat(Box<Node>, u32, u32),
}

/// A text that fits the shape, or `None` where the shape uses something not understood.
pub fn sample(shape: &str, rng: &mut impl Rng) -> Option<String> {
    let mut reader = Reader { rest: shape.chars().collect::<Vec<_>>(), at: 0 };
    let node = reader.alternatives(0)?;
    if reader.at != reader.rest.len() {
        return None;
    }
    let mut text = String::new();
    write(&node, rng, &mut text);
    Some(text)
}

fn write(node: &Node, rng: &mut impl Rng, text: &mut String) {
    match node {
        Node::One(choices) => {
            if !choices.is_empty() {
                text.push(choices[rng.random_range(0..choices.len())]);
            }
        }
        Node::All(parts) => {
            for part in parts {
                write(part, rng, text);
            }
        }
        Node::Either(ways) => {
            if !ways.is_empty() {
                write(&ways[rng.random_range(0..ways.len())], rng, text);
            }
        }
        Node::Repeat(inner, least, most) => {
            for _ in 0..rng.random_range(*least..=*most) {
                write(inner, rng, text);
            }
        }
    }
}

struct Reader {
    rest: Vec<char>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }

    fn take(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    fn skip(&mut self, text: &str) -> bool {
        let fits = text.chars().enumerate().all(|(i, c)| self.rest.get(self.at + i) == Some(&c));
        if fits {
            self.at += text.chars().count();
        }
        fits
    }

    fn alternatives(&mut self, depth: usize) -> Option<Node> {
        if depth > DEEPEST {
            return None;
        }
        let mut ways = vec![self.sequence(depth)?];
        while self.skip("|") {
            ways.push(self.sequence(depth)?);
        }
        Some(if ways.len() == 1 { ways.remove(0) } else { Node::Either(ways) })
    }

    fn sequence(&mut self, depth: usize) -> Option<Node> {
        let mut parts = Vec::new();
        while let Some(next) = self.peek() {
            if next == '|' || next == ')' {
                break;
            }
            if self.skip("^") || self.skip("$") || self.skip("\\A") || self.skip("\\z") {
                continue;
            }
            if self.skip("(?i)") || self.skip("(?-u)") {
                continue;
            }
            let atom = self.atom(depth)?;
            parts.push(self.repeated(atom)?);
        }
        Some(Node::All(parts))
    }

    fn atom(&mut self, depth: usize) -> Option<Node> {
        match self.take()? {
            '(' => {
                if self.skip("?P<") || self.skip("?<") {
                    while self.take()? != '>' {}
                } else if !self.skip("?:") && self.peek() == Some('?') {
                    return None;
                }
                let inner = self.alternatives(depth + 1)?;
                if self.take()? != ')' {
                    return None;
                }
                Some(inner)
            }
            '[' => self.class(),
            '\\' => match self.take()? {
                'd' => Some(Node::One(('0'..='9').collect())),
                'w' => Some(Node::One(('0'..='9').chain('A'..='Z').collect())),
                escaped if !escaped.is_ascii_alphanumeric() => Some(Node::One(vec![escaped])),
                _ => None,
            },
            '.' | '*' | '+' | '?' | '{' => None,
            literal => Some(Node::One(vec![literal])),
        }
    }

    fn class(&mut self) -> Option<Node> {
        let mut choices = Vec::new();
        loop {
            match self.take()? {
                ']' if !choices.is_empty() => break,
                '^' if choices.is_empty() => return None,
                '\\' => match self.take()? {
                    'd' => choices.extend('0'..='9'),
                    escaped if !escaped.is_ascii_alphanumeric() => choices.push(escaped),
                    _ => return None,
                },
                first => {
                    if self.peek() == Some('-') && self.rest.get(self.at + 1).is_some_and(|c| *c != ']') {
                        self.at += 1;
                        let last = self.take()?;
                        choices.extend(first..=last);
                    } else {
                        choices.push(first);
                    }
                }
            }
        }
        Some(Node::One(choices))
    }

    fn repeated(&mut self, atom: Node) -> Option<Node> {
        let (least, most) = match self.peek() {
            Some('?') => {
                self.at += 1;
                (0, 1)
            }
            Some('*') => {
                self.at += 1;
                (0, LONGEST_OPEN_REPEAT)
            }
            Some('+') => {
                self.at += 1;
                (1, LONGEST_OPEN_REPEAT)
            }
            Some('{') => {
                self.at += 1;
                let least = self.number()?;
                let most = if self.skip(",") {
                    self.number().unwrap_or(least.saturating_add(LONGEST_OPEN_REPEAT))
                } else {
                    least
                };
                if self.take()? != '}' || most < least || most > 64 {
                    return None;
                }
                (least, most)
            }
            _ => return Some(atom),
        };
        Some(Node::Repeat(Box::new(atom), least, most))
    }

    fn number(&mut self) -> Option<u32> {
        let mut digits = String::new();
        while let Some(digit) = self.peek().filter(char::is_ascii_digit) {
            digits.push(digit);
            self.at += 1;
        }
        digits.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn samples_fit_their_own_shape() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let shapes = [
            r"^(?:[A-Z]{2}\d{9}TH)$",
            r"^1Z[0-9A-Z]{15}\d$",
            r"^(?:(KE|KX)\d{8,10}|TH\d{4}-?\d{6})$",
            r"^(?i)SPX[A-Z]{2}0\d{2,}$",
            r"^LP00\d{12}(\.[A-Z])?$",
        ];
        for shape in shapes {
            let regex = regex::Regex::new(shape).unwrap();
            for _ in 0..200 {
                let text = sample(shape, &mut rng).unwrap();
                assert!(regex.is_match(&text), "{text} does not fit {shape}");
            }
        }
    }

    #[test]
    fn a_shape_that_is_not_understood_gives_nothing() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for shape in [r"^a.c$", r"^[^a]$", r"(?=x)y", r"\bword\b", r"(unclosed"] {
            assert_eq!(sample(shape, &mut rng), None, "{shape}");
        }
    }
}
