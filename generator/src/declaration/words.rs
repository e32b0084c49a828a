//! Splitting a value into words as systemd does: blanks separate, quotes join, backslashes escape.

/// Splits `text` into words, taking `'...'`, `"..."` and C escapes apart.
///
/// # Errors
/// An open quote or an unknown escape.
pub(crate) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) => escape(&mut chars, word.get_or_insert_default())?,
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (' ' | '\t' | '\n' | '\r', None) => finish(&mut words, word.take())?,
            (c, _) => push(word.get_or_insert_default(), c),
        }
    }
    if let Some(open) = quote {
        return Err(format!("{open} is never closed"));
    }
    finish(&mut words, word)?;
    Ok(words)
}

/// Takes the C escapes of a whole text apart, in which quotes and blanks mean themselves.
///
/// # Errors
/// An unknown escape.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => escape(&mut chars, &mut out)?,
            c => push(&mut out, c),
        }
    }
    Ok(out)
}

fn finish(words: &mut Vec<String>, word: Option<Vec<u8>>) -> Result<(), String> {
    if let Some(word) = word {
        words.push(
            String::from_utf8(word)
                .map_err(|_| "escapes make text that is not UTF-8".to_owned())?,
        );
    }
    Ok(())
}

fn push(word: &mut Vec<u8>, c: char) {
    word.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Reads what follows a backslash.
fn escape(chars: &mut std::str::Chars<'_>, word: &mut Vec<u8>) -> Result<(), String> {
    let Some(c) = chars.next() else {
        return Err("a backslash at the end escapes nothing".into());
    };
    let byte = match c {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        's' => b' ',
        '\\' | '"' | '\'' => c as u8,
        'x' => number(chars, 2, 16, "\\x")?
            .try_into()
            .map_err(|_| "escape out of range".to_owned())?,
        'u' | 'U' => {
            let (digits, name) = if c == 'u' { (4, "\\u") } else { (8, "\\U") };
            let code = number(chars, digits, 16, name)?;
            push(
                word,
                char::from_u32(code).ok_or_else(|| format!("{name}{code:x} is no character"))?,
            );
            return Ok(());
        }
        '0'..='3' => {
            let rest = number(chars, 2, 8, "octal")?;
            let value = (u32::from(c) - u32::from('0')) * 64 + rest;
            if value == 0 {
                return Err("NUL is not allowed".into());
            }
            value
                .try_into()
                .map_err(|_| "escape out of range".to_owned())?
        }
        other => {
            return Err(format!(
                "unknown escape \\{other}; write \\\\ for a backslash"
            ));
        }
    };
    word.push(byte);
    Ok(())
}

fn number(
    chars: &mut std::str::Chars<'_>,
    digits: usize,
    base: u32,
    name: &str,
) -> Result<u32, String> {
    let text: String = chars.by_ref().take(digits).collect();
    let wrong = || format!("the {name} escape needs {digits} digits");
    if text.len() != digits || !text.chars().all(|c| c.is_digit(base)) {
        return Err(wrong());
    }
    let value = u32::from_str_radix(&text, base).map_err(|_| wrong())?;
    if value == 0 && base == 16 {
        return Err("NUL is not allowed".into());
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            (" a  b\tc ", &["a", "b", "c"]),
            (r#"a="b c" 'd "e'"#, &["a=b c", "d \"e"]),
            (r#""" ''"#, &["", ""]),
            (r#"\x41\101\u00e4\n"x\"y""#, &["AA\u{e4}\nx\"y"]),
            (r"\xc3\xa4", &["\u{e4}"]),
            (r"a\sb", &["a b"]),
        ];
        for (text, expected) in cases {
            assert_eq!(split(text).unwrap(), *expected, "{text}");
        }
        let wrong = [
            "\"a", "'a", "a\\", r"\q", r"\x4", r"\xg0", r"\x00", r"\000", r"\400", r"\ud800",
            r"\xff", r"\u12", r"a\ b",
        ];
        for text in wrong {
            assert!(split(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_split(text in "\\PC*") {
            let _ = split(&text);
        }

        #[test]
        fn quoted_words_come_back(words in proptest::collection::vec("[^\0]{0,8}", 0..6)) {
            let text: Vec<_> = words.iter()
                .map(|word| format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))).collect();
            prop_assert_eq!(split(&text.join(" ")).unwrap(), words);
        }
    }
}
