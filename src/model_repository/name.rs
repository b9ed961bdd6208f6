//! Which names a model may have.

/// Longer than any file system's names.
const LONGEST: usize = 255;

/// Checks a model's name: it is a directory's, a part of URLs and a label in
/// metrics, and must never lead out of the repository.
///
/// # Errors
/// What is wrong with it.
pub fn check_model_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.len() > LONGEST {
        return Err("it is longer than 255 bytes");
    }
    if name.starts_with('.') || name.trim() != name {
        return Err("it begins with a dot, or begins or ends with a space");
    }
    if name.chars().any(|c| c == '/' || c == '\\' || c.is_control()) {
        return Err("it holds a slash or a control character");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_lead_out_of_the_repository() {
        for good in ["simple", "ResNet-50_v1.5", "größe", "a b"] {
            assert_eq!(check_model_name(good), Ok(()), "{good}");
        }
        for bad in
            ["", ".", "..", "../x", "a/b", "/etc/passwd", " ..", "model/", "a\0b", "a\nb", "\\x", ".hidden"]
        {
            assert!(check_model_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_model_name(&"x".repeat(300)).is_err());
    }
}
