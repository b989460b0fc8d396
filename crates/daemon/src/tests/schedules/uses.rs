//! The first use of an image against its deletion: one of them comes first.

use super::{below, explore, verbs::Furniture};
use crate::{
    App,
    host::fake::World,
    prepare::PrepareError,
    tests::{assert_settled, begin, name, store},
    verbs,
};
use banger_model::{ByteSize, ImageRef, api::vm::CreateVm};
use shuttle::future::{block_on, spawn, yield_now};
use std::sync::Arc;

/// A name for the image that is there; where it is from, there is nothing any more.
const NAME: &str = "rootfs:/nowhere.tar";
async fn create(app: &App, image: &ImageRef) -> bool {
    let (cx, _events) = begin(app);
    let memory = Some(ByteSize::mib(128));
    let request = CreateVm { name: Some(name("box")), image: Some(image.clone()), memory, ..CreateVm::default() };
    match verbs::create::create(app, request, &cx).await {
        Ok(_) => true,
        Err(verbs::VerbError::Prepare(PrepareError::Image(_))) => false,
        Err(other) => panic!("{other:?}"),
    }
}

async fn delete(app: &App, image: &ImageRef) -> bool {
    for _ in 0..below(20) {
        yield_now().await;
    }
    let (cx, _events) = begin(app);
    match app.prepare.delete_image(image, app.image_users(), &cx).await {
        Ok(gone) => {
            assert!(!gone, "another name keeps it");
            true
        }
        Err(PrepareError::InUse { vms, .. }) => {
            assert_eq!(vms, [name("box")]);
            false
        }
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn an_image_is_deleted_or_used_and_never_both() {
    let furniture = Furniture::new();
    let image: ImageRef = NAME.parse().unwrap();
    explore("create against the deletion of its image", move || {
        store::name_image(furniture.root(), NAME);
        let world: Arc<World> = Arc::default();
        let app = furniture.daemon(&world);
        let creating = {
            let (app, image) = (Arc::clone(&app), image.clone());
            spawn(async move { create(&app, &image).await })
        };
        let deleted = block_on(delete(&app, &image));
        let created = block_on(creating).unwrap();
        assert_ne!(created, deleted, "both or neither");
        block_on(assert_settled(&app, &world));
    });
}
