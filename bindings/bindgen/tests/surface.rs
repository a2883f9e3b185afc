//! What crosses the seam changes on purpose only.

use camino::{Utf8Path, Utf8PathBuf};
use segue_bindgen::{Language, fingerprint, generate, surface};

/// The library that was built for this test, which stands beside it.
fn library() -> Utf8PathBuf {
    let here = std::env::current_exe().expect("a path");
    let name = format!("{}segue_ffi{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    Utf8PathBuf::from_path_buf(here.with_file_name(name)).expect("a path of text")
}

fn root() -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a folder above").join("ffi")
}

#[test]
fn the_surface_is_the_one_that_is_committed() {
    let committed = std::fs::read_to_string(root().join("surface.txt")).expect("bindings/ffi/surface.txt");
    let built = surface(&library()).expect("metadata");
    let new: Vec<_> = built.lines().filter(|line| !committed.contains(line)).collect();
    let gone: Vec<_> = committed.lines().filter(|line| !built.contains(line)).collect();
    assert!(
        built == committed,
        "what crosses the seam changed: new {new:#?}, gone {gone:#?}\nif that is meant: `cargo xtask bindings --accept`, and look at all three packages"
    );
}

#[test]
fn library_and_generated_code_carry_the_same_version() {
    let committed = std::fs::read_to_string(root().join("surface.txt")).expect("bindings/ffi/surface.txt");
    assert_eq!(fingerprint(&committed), segue_ffi::fingerprint(&committed));
    let version = segue_ffi::sdk_version();
    assert_eq!(version, format!("{}+{:08x}", env!("CARGO_PKG_VERSION"), fingerprint(&committed)));
    for language in Language::ALL {
        let out = Utf8PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("generated").join(language.name());
        generate(language, &library(), &out).expect("generated");
        let told = |text: &str| text.contains(&version);
        let files = walk(&out);
        assert!(files.iter().any(|file| told(&std::fs::read_to_string(file).expect("text"))), "{language:?}: {files:#?}");
    }
}

fn walk(folder: &Utf8Path) -> Vec<Utf8PathBuf> {
    let entries = folder.read_dir_utf8().expect("a folder").map(|entry| entry.expect("an entry").into_path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
