//! What gets shipped: the two release binaries, the completions and the .deb.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    command::{capture, program, run, shown},
    place, progress, tool,
};

/// Builds `skep` and the static launcher; returns the directory that holds both.
pub fn build() -> Result<PathBuf> {
    progress::step("release build: skep, launcher (static)", || {
        run(place::cargo().args(["build", "--release", "--package", "skep"]))?;
        // Only the launcher is linked statically: RUSTFLAGS would rebuild everything, build scripts included.
        run(place::cargo()
            .args([
                "rustc",
                "--release",
                "--package",
                "skep-launcher",
                "--bin",
                "launcher",
                "--",
            ])
            .args(["-C", "target-feature=+crt-static"]))?;
        let directory = place::target()?.join("release");
        let launcher = directory.join("launcher");
        let image =
            fs::read(&launcher).with_context(|| format!("cannot read {}", launcher.display()))?;
        if interpreter(&image).with_context(|| format!("{} is no ELF file", launcher.display()))? {
            bail!(
                "{} is not static: it names a dynamic loader",
                launcher.display()
            );
        }
        Ok(directory)
    })
}

/// Builds the static program that attacks its container from inside; returns its path.
pub fn payload() -> Result<PathBuf> {
    // In a directory of its own: with the release profile of the product it would take as long as the product.
    let directory = place::target()?.join("payload");
    run(place::cargo()
        .args(["rustc", "--quiet", "--package", "skep-payload"])
        .arg("--target-dir")
        .arg(&directory)
        .args(["--", "-C", "target-feature=+crt-static"]))?;
    let program = directory.join("debug/payload");
    let image = fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
    if interpreter(&image) != Some(false) {
        bail!("{} is not static", program.display());
    }
    Ok(program)
}

/// Makes the Debian package from a finished [`build`]; returns its path.
pub fn package(built: &Path) -> Result<PathBuf> {
    tool::ensure_package_tools()?;
    progress::step("package", || {
        let generated = place::target()?.join("package");
        fs::create_dir_all(&generated)?;
        for (shell, name) in [
            ("bash", "skep.bash"),
            ("zsh", "_skep"),
            ("fish", "skep.fish"),
        ] {
            let text = capture(
                program(
                    &built.join("skep").to_string_lossy(),
                    ["completions", shell],
                )
                .env_clear(),
            )?;
            fs::write(generated.join(name), text)?;
        }
        let mut command = place::cargo();
        command.args([
            "deb",
            "--package",
            "skep",
            "--no-build",
            "--no-strip",
            "--quiet",
        ]);
        let path = PathBuf::from(
            capture(&mut command)?
                .trim()
                .lines()
                .last()
                .unwrap_or_default(),
        );
        if !path.is_file() {
            bail!("{} printed no path of a package", shown(&command));
        }
        Ok(path)
    })
}

/// Whether an ELF image asks for a dynamic loader (`PT_INTERP`). `None` when it is no 64-bit little-endian ELF file.
pub fn interpreter(image: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    if image.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let word = |at: usize| {
        image
            .get(at..at + 8)?
            .try_into()
            .ok()
            .map(u64::from_le_bytes)
    };
    let half = |at: usize| {
        image
            .get(at..at + 2)?
            .try_into()
            .ok()
            .map(u16::from_le_bytes)
    };
    let table = usize::try_from(word(0x20)?).ok()?;
    let (size, count) = (usize::from(half(0x36)?), usize::from(half(0x38)?));
    for index in 0..count {
        let at = table.checked_add(index * size)?;
        let kind = u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?);
        if kind == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(kinds: &[u32]) -> Vec<u8> {
        let mut image = vec![0; 0x40];
        image[..6].copy_from_slice(b"\x7fELF\x02\x01");
        image[0x20] = 0x40;
        image[0x36] = 0x38;
        image[0x38] = u8::try_from(kinds.len()).unwrap_or(0);
        for kind in kinds {
            let mut header = vec![0; 0x38];
            header[..4].copy_from_slice(&kind.to_le_bytes());
            image.extend(header);
        }
        image
    }

    #[test]
    fn dynamic_loader_is_seen() {
        let cases: &[(&[u8], Option<bool>)] = &[
            (b"#!/bin/sh\n", None),
            (&elf(&[]), Some(false)),
            (&elf(&[1, 2, 4]), Some(false)),
            (&elf(&[6, 3, 1]), Some(true)),
            (&elf(&[1])[..0x50], Some(false)),
            (&elf(&[1, 1])[..0x70], None),
        ];
        for (image, expected) in cases {
            assert_eq!(interpreter(image), *expected, "{} bytes", image.len());
        }
    }
}
