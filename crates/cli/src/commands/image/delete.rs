//! `image delete`.

use super::Cx;
use crate::{args::absolute_image, client::Route, commands::several, error::CliError};
use banger_model::ImageRef;
use clap::Args;
use hyper::Method;

/// Delete images that no VM needs
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Which
    #[arg(required = true, value_name = "REF")]
    images: Vec<ImageRef>,
}

pub(super) async fn run(cx: &Cx<'_>, args: DeleteArgs) -> Result<u8, CliError> {
    let images = args.images.into_iter().map(absolute_image).collect::<Result<Vec<_>, _>>()?;
    let route = |image: &ImageRef| Route::new(["images", &image.to_string()]);
    let work = async |image: &ImageRef| Ok(cx.client.tell(Method::DELETE, &route(image)).await?);
    several::each(cx, &images, work, |image, ()| several::gone(cx.ui, "image", &image.to_string())).await
}
