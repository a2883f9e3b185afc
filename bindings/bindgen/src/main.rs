//! What `cargo xtask bindings` and maturin call: `uniffi-bindgen generate --language L --out-dir D --library FILE` and `uniffi-bindgen
//! surface FILE`. Maturin looks for a program of this name in the workspace and passes `--no-format` and `--config` too, which are as
//! they are here anyway.

use anyhow::{Context as _, Result, bail};
use camino::Utf8Path;
use segue_bindgen::{Language, generate, surface};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let value = |name: &str| words.iter().skip_while(|word| **word != name).nth(1).copied();
    match words.as_slice() {
        ["surface", library] => print!("{}", surface(Utf8Path::new(library))?),
        ["generate", ..] => {
            let library = value("--library").context("--library FILE is missing")?;
            let out = value("--out-dir").context("--out-dir FOLDER is missing")?;
            let name = value("--language").context("--language python|kotlin|swift is missing")?;
            let language = Language::ALL.into_iter().find(|language| language.name() == name);
            let language = language.with_context(|| format!("no language {name}: python, kotlin or swift"))?;
            generate(language, Utf8Path::new(library), Utf8Path::new(out))?;
        }
        _ => bail!("usage: uniffi-bindgen surface LIBRARY | generate --language L --out-dir FOLDER --library LIBRARY"),
    }
    Ok(())
}
