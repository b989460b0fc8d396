//! `image list`.

use super::Cx;
use crate::{
    client::Route,
    error::CliError,
    output::{
        age,
        style::Style,
        table::{Align, Table},
    },
};
use banger_model::api::image::{ImageList, ImageView};
use clap::Args;

/// List the images that are here
///
/// With --quiet, only their names are printed, one a line.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {}

pub(super) async fn run(cx: &Cx<'_>) -> Result<(), CliError> {
    let list: ImageList = cx.client.get(&Route::new(["images"])).await?;
    let people = || match list.images.is_empty() {
        true => {
            cx.ui.say("no images yet: `banger vm run` fetches what it needs, `banger image pull` fetches one now");
            Ok(())
        }
        false => cx.ui.print(&render(&list.images, age::now_ms(), cx.ui.out)),
    };
    Ok(cx.ui.print_list(&list, list.images.iter().map(|image| &image.name), people)?)
}

fn render(images: &[ImageView], now_ms: u64, style: Style) -> String {
    let mut table = Table::new([
        ("NAME", Align::Left),
        ("DIGEST", Align::Left),
        ("SIZE", Align::Right),
        ("CREATED", Align::Left),
        ("USED BY", Align::Left),
    ]);
    for image in images {
        table.row([
            image.name.to_string(),
            image.digest.short(),
            image.size.to_string(),
            age::ago(image.created_ms, now_ms),
            used_by(&image.used_by),
        ]);
    }
    table.render(style)
}

/// The first few names.
pub(in crate::commands) fn used_by(vms: &[banger_model::VmName]) -> String {
    const SHOWN: usize = 3;
    let names: Vec<_> = vms.iter().take(SHOWN).map(|vm| vm.as_str()).collect();
    let more = if vms.len() > SHOWN { format!(" and {} more", vms.len() - SHOWN) } else { String::new() };
    format!("{}{more}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_users_are_counted() {
        let vms: Vec<_> = ["a", "b", "c", "d", "e"].iter().map(|name| name.parse().unwrap()).collect();
        assert_eq!(used_by(&vms), "a, b, c and 2 more");
        assert_eq!(used_by(&vms[..2]), "a, b");
        assert_eq!(used_by(&[]), "");
    }
}
