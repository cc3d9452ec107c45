"""What fastai's tutorials do: `vision_learner`, `aug_transforms`, `fine_tune`; scored with and without its `tta`."""

from peer import arguments, write


def main() -> None:
    # Of an environment of its own: benchmarks/peer_fastai.txt
    from fastai.vision.all import ImageDataLoaders, aug_transforms, get_image_files, set_seed, vision_learner

    given = arguments(__doc__)
    set_seed(given.seed, reproducible=True)
    batch = min(64, len(get_image_files(given.folder / "train")))  # its own 64 would train on none of fewer images
    loaders = ImageDataLoaders.from_folder(
        given.folder, train="train", valid="val", bs=batch, batch_tfms=aug_transforms(), seed=given.seed, num_workers=0
    )
    start = {"file": str(given.folder / "start.pt"), "hf_hub_id": None, "url": ""}
    learner = vision_learner(loaders, "tf_efficientnet_lite0", pretrained_cfg_overlay=start)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(given.epochs)
        files = get_image_files(given.folder / "test")
        test = loaders.test_dl(files)
        ways = [learner.get_preds(dl=test)[0], learner.tta(dl=test)[0]]
    lines = [(path.stem, *(float(way[index, 1]) for way in ways)) for index, path in enumerate(files)]
    write(given.folder, ["by_itself", "by_tta"], lines)


if __name__ == "__main__":
    main()
