//! Pulls one image into a store: what `make bench` measures and `time` can wrap. `pull STORE REFERENCE`.

#![allow(clippy::print_stdout, reason = "a program's output")]

use banger_image::{cancel::Cancel, image, progress::NoProgress, store::Store};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(root), Some(reference), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: pull STORE REFERENCE".into());
    };
    let store = Store::open(root.into())?;
    let options = image::PullOptions::default();
    let image = image::pull(&store, &reference.parse()?, true, &options, &NoProgress, &Cancel::new())?;
    let (_, files) = image::files(&store, &image.digest)?;
    println!("{}", files.root.display());
    Ok(())
}
