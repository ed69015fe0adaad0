from __future__ import annotations

import json
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from flopwise.dsl import Recipe
from flopwise.errors import RunError, SpecError
from flopwise.train import evaluate, open_data, train
from flopwise.train.batches import batches
from flopwise.train.cut import validation_size
from tests.unit.pictures import CLASSES, SmallNet, corrupt, draw, write_pictures

DIGITS = Recipe(flip=False, crop=1.0)


def recipe_for(path: Path, **settings: object) -> Recipe:
    return Recipe(data=str(path), epochs=1, batch=16, warmup=0.0, **settings)  # type: ignore[arg-type]


def test_the_digits_are_divided_into_three_stratified_splits() -> None:
    data = open_data(DIGITS, size=(8, 8), channels=1, classes=10)
    assert (len(data.train), len(data.validation), len(data.test())) == (958, 479, 360)
    names = [set(s.images.names) for s in (data.train, data.validation, data.test())]
    assert len(set.union(*names)) == sum(map(len, names)) == 1797
    for split in (data.train, data.validation, data.test()):
        share = np.bincount(split.images.labels) / len(split)
        assert abs(share - 0.1).max() < 0.01
    assert data.facts.classes == tuple("0123456789")


def test_splits_and_digests_do_not_depend_on_the_seed_of_a_training() -> None:
    first = open_data(DIGITS, size=(8, 8))
    second = open_data(Recipe(flip=False, crop=1.0, seed=7, lr=0.1), size=(8, 8))
    assert first.manifest() == second.manifest()
    assert first.train.digest == second.train.digest != first.validation.digest


def test_a_larger_sample_holds_the_smaller_one_and_validation_stays() -> None:
    small = open_data(Recipe(images=100), size=(8, 8))
    large = open_data(Recipe(images=400), size=(8, 8))
    assert small.validation.digest == large.validation.digest
    assert set(small.train.images.names) < set(large.train.images.names)
    assert np.bincount(small.train.images.labels).min() >= 9


def test_manifest_is_plain_json_with_the_validation_images() -> None:
    data = open_data(DIGITS, size=(8, 8))
    manifest = json.loads(json.dumps(data.manifest()))
    assert manifest == data.manifest()
    assert len(manifest["validation"]) == 479 and manifest["validation_of"] == "all"
    assert manifest["test_opened"] is False
    data.test()
    assert data.test_opened and data.manifest()["test_opened"] is True
    assert set(data.manifest()["digests"]) == {"train", "validation", "test"}


def test_mean_and_std_are_those_of_the_training_pixels() -> None:
    data = open_data(DIGITS, size=(8, 8))
    assert data.train.sized is not None
    pixels = data.train.sized.double() / 255
    assert data.facts.mean == (round(pixels.mean().item(), 4),)
    assert data.facts.std == (round(pixels.std(correction=0).item(), 4),)


def test_training_and_validation_never_read_a_test_image(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "data", {"train": 20, "test": 5})
    count = corrupt(root / "test")
    data = open_data(recipe_for(root), size=(16, 16))
    model = SmallNet(3, 3)
    result = train(model, data, recipe_for(root), tmp_path / "run")
    assert evaluate(model, data).images == len(data.validation)
    assert result.last.epoch == 1 and not data.test_opened
    with pytest.raises(SpecError, match=f"{count} images of test cannot be read"):
        data.test()


def test_images_set_aside_from_one_folder_are_not_read_either(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "data", {"": 20})
    aside = open_data(recipe_for(root), size=(16, 16)).test().images.names
    for name in aside:
        (root / name).write_bytes(b"broken")
    data = open_data(recipe_for(root), size=(16, 16))
    train(SmallNet(3, 3), data, recipe_for(root), tmp_path / "run")
    with pytest.raises(SpecError, match="12 images of test cannot be read"):
        data.test()


def test_val_beside_train_is_the_test_split_and_a_note_says_so(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"train": 12, "val": 4})
    data = open_data(recipe_for(root), size=(16, 16))
    assert (len(data.train), len(data.validation), len(data.test())) == (24, 12, 12)
    assert "test: 'val' is the only split beside 'train', so it is kept for the end" in data.notes
    assert data.cut.chosen_of == "train"


def test_val_between_train_and_test_is_validation(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"train": 12, "val": 4, "test": 6})
    data = open_data(recipe_for(root), size=(16, 16))
    assert (len(data.train), len(data.validation), len(data.test())) == (36, 12, 18)
    assert data.cut.chosen_of == "val"


def test_a_split_can_be_named_as_validation(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"train": 12, "held": 4, "test": 6})
    data = open_data(recipe_for(root, validation="held"), size=(16, 16))
    assert (len(data.train), len(data.validation), len(data.test())) == (36, 12, 18)
    assert data.notes == (
        "not a split, and not used: held",
        "validation: 12 images of 'held'",
    ) or data.notes == ("validation: 12 images of 'held'",)


def test_a_tar_gives_what_its_folder_gives(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "photos", {"train": 12, "test": 4})
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.add(root, arcname="photos")
    folder = open_data(recipe_for(root), size=(16, 16))
    packed = open_data(recipe_for(tmp_path / "photos.tar"), size=(16, 16))
    assert folder.facts.classes == packed.facts.classes == CLASSES
    for name in ("train", "validation", "test"):
        one, other = folder.split(name), packed.split(name)
        assert one.sized is not None and other.sized is not None
        assert torch.equal(one.sized, other.sized) and torch.equal(one.labels, other.labels)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for label in ("plane", "train"):
        (tmp_path / label).mkdir()
        for index in range(6):
            draw("disc", 16, index).save(tmp_path / label / f"{index}.png")
    data = open_data(recipe_for(tmp_path), size=(16, 16))
    assert data.facts.classes == ("plane", "train")


def test_grey_images_have_one_channel_and_any_colour_makes_three(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"": 8}, mode="L")
    assert open_data(recipe_for(root), size=(16, 16)).facts.channels == 1
    for label in CLASSES:
        draw(label, 16, 0).save(root / label / "900.png")
    data = open_data(recipe_for(root), size=(16, 16))
    assert data.facts.channels == 3 and len(data.facts.mean) == 3


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"classes": 100}, r"the spec says classes: 100, but the data have 10 \(0, 1, 2, 3, 4"),
        ({"channels": 3}, r"the spec says input.channels: 3, but the data have 1 \(grey\)"),
    ],
)
def test_a_spec_that_disagrees_with_the_data_is_told_both(
    wanted: dict[str, int], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        open_data(DIGITS, size=(8, 8), **wanted)  # type: ignore[arg-type]


def test_a_missing_folder_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(SpecError) as caught:
        open_data(recipe_for(tmp_path / "phots" / "train"), size=(8, 8))
    assert f"did you mean '{tmp_path / 'photos'}'" in str(caught.value)
    with pytest.raises(SpecError, match="did you mean 'digits'"):
        open_data(Recipe(data="digit"), size=(8, 8))


def test_images_outside_a_class_folder_have_no_label(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"train": 4, "test": 4})
    draw("disc", 16, 1).save(root / "train" / "stray.png")
    with pytest.raises(SpecError, match=r"1 images .* outside any class folder.*train/stray\.png"):
        open_data(recipe_for(root), size=(16, 16))


def test_images_deeper_than_their_class_are_refused(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"train": 4})
    (root / "train" / "disc" / "more").mkdir()
    draw("disc", 16, 1).save(root / "train" / "disc" / "more" / "1.png")
    with pytest.raises(SpecError, match=r"deeper than their class folder.*disc/more/1\.png"):
        open_data(recipe_for(root), size=(16, 16))


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"train": 4})
    (root / "train" / "hexagon").mkdir()
    with pytest.raises(SpecError, match="hexagon' holds no image"):
        open_data(recipe_for(root), size=(16, 16))


def test_one_class_only_cannot_be_classified(tmp_path: Path) -> None:
    (tmp_path / "disc").mkdir()
    draw("disc", 16, 1).save(tmp_path / "disc" / "1.png")
    with pytest.raises(SpecError, match="one class only: 'disc'"):
        open_data(recipe_for(tmp_path), size=(16, 16))


def test_a_folder_without_images_and_a_packed_tar_are_explained(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no image was found"):
        open_data(recipe_for(tmp_path), size=(16, 16))
    (tmp_path / "photos.tar.gz").write_bytes(b"")
    with pytest.raises(SpecError, match=r"neither a folder nor a plain \.tar"):
        open_data(recipe_for(tmp_path / "photos.tar.gz"), size=(16, 16))


def test_classes_that_only_the_test_split_has_are_refused(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"train": 4, "test": 4})
    (root / "test" / "disc").rename(root / "test" / "disk")
    with pytest.raises(SpecError, match="class 'disk' is in"):
        open_data(recipe_for(root), size=(16, 16))


def test_test_without_train_is_refused(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"test": 4})
    with pytest.raises(SpecError, match="has 'test' but no 'train' beside it"):
        open_data(recipe_for(root), size=(16, 16))


def test_corrupt_training_images_are_listed_together(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"train": 10})
    for name in ("disc/001.png", "square/003.png"):
        (root / "train" / name).write_bytes(b"\x89PNG broken")
    with pytest.raises(SpecError) as caught:
        open_data(recipe_for(root), size=(16, 16))
    assert "cannot be read" in str(caught.value) and "not an image" in str(caught.value)


def test_an_unknown_validation_split_is_told_the_known_ones(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"train": 4, "test": 4})
    with pytest.raises(SpecError, match="no split 'held'"):
        open_data(recipe_for(root, validation="held"), size=(16, 16))
    with pytest.raises(SpecError, match="is the test split, which no choice may look at"):
        open_data(recipe_for(root, validation="test"), size=(16, 16))


def test_more_images_than_there_are_is_an_error() -> None:
    with pytest.raises(SpecError, match=r"train.images is 5,000, but there are 958"):
        open_data(Recipe(images=5000), size=(8, 8))


def test_hugging_face_sets_say_what_they_need() -> None:
    with pytest.raises(SpecError, match="hfds/nobody/nothing"):
        open_data(Recipe(data="hfds/nobody/nothing"), size=(8, 8))


def test_unknown_torch_sets_are_told_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="did you mean 'cifar10'"):
        open_data(Recipe(data="torch/cifar1"), size=(8, 8), cache=tmp_path)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("crop", [1.0, 0.3])
def test_images_too_many_for_memory_are_read_as_they_are_used(
    tmp_path: Path, workers: int, crop: float
) -> None:
    root = write_pictures(tmp_path / "data", {"train": 8, "test": 4}, size=20)
    recipe = recipe_for(root, workers=workers, crop=crop)
    streamed = open_data(recipe, size=(16, 16), memory=1000)
    kept = open_data(recipe, size=(16, 16))
    assert streamed.train.sized is None and kept.train.sized is not None
    assert streamed.facts == kept.facts
    first = train(SmallNet(3, 3), streamed, recipe, tmp_path / "a")
    again = train(SmallNet(3, 3), streamed, recipe, tmp_path / "b")
    assert Path(first.weights).read_bytes() == Path(again.weights).read_bytes()
    model = SmallNet(3, 3)
    assert evaluate(model, streamed) == evaluate(model, kept)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_breaks_later_is_named(tmp_path: Path, workers: int) -> None:
    root = write_pictures(tmp_path / "data", {"train": 8})
    recipe = recipe_for(root, workers=workers)
    data = open_data(recipe, size=(16, 16), memory=1000)
    corrupt(root)
    with pytest.raises(RunError, match=r"^'train/.*\.png' of train cannot be read: not an image$"):
        train(SmallNet(3, 3), data, recipe, tmp_path / "run")


def test_originals_of_other_sizes_stay_in_memory_for_crops(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"train": 8}, size=24)
    data = open_data(recipe_for(root), size=(16, 16))
    assert data.train.originals is not None and data.train.picture(0).size == (24, 24)
    seen = batches(data, recipe_for(root, crop=0.2), torch.Generator().manual_seed(0))
    images, labels = next(seen.epoch())
    assert images.shape[1:] == (3, 16, 16) and len(images) == len(labels)


def test_validation_is_a_tenth_but_at_least_500_but_never_most() -> None:
    sizes = {50_000: 5000, 6000: 600, 3000: 500, 1437: 479, 90: 30, 3: 1}
    assert {count: validation_size(count) for count in sizes} == sizes


def test_a_class_of_one_image_stays_in_training(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"": 30})
    for path in sorted((root / "disc").iterdir())[1:]:
        path.unlink()
    data = open_data(recipe_for(root), size=(16, 16))
    assert np.bincount(data.train.images.labels)[0] == 1
    with pytest.raises(SpecError, match=r"write a number from \d+ to 32, or 0 for all"):
        open_data(recipe_for(root, images=3), size=(16, 16))


def test_three_images_can_be_divided_and_two_cannot(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / "train" / label).mkdir(parents=True)
        (tmp_path / "test" / label).mkdir(parents=True)
        draw("disc", 16, 1).save(tmp_path / "train" / label / "1.png")
        draw("disc", 16, 1).save(tmp_path / "test" / label / "1.png")
    with pytest.raises(SpecError, match="2 training images are too few"):
        open_data(recipe_for(tmp_path), size=(16, 16))
    draw("disc", 16, 1).save(tmp_path / "train" / "a" / "2.png")
    data = open_data(recipe_for(tmp_path), size=(16, 16))
    assert (len(data.train), len(data.validation), len(data.test())) == (2, 1, 2)


def test_a_set_of_torchvision_is_opened_by_name(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split, count in (("train", 300), ("t10k", 50)):
        pixels = np.random.default_rng(0).integers(0, 256, (count, 28, 28)).astype(np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = struct.pack(">IIII", 2051, count, 28, 28) + pixels.tobytes()
        (raw / f"{split}-images-idx3-ubyte").write_bytes(images)
        header = struct.pack(">II", 2049, count)
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    data = open_data(Recipe(data="torch/mnist"), size=(28, 28), channels=1, cache=tmp_path)
    assert (len(data.train), len(data.validation), len(data.test())) == (200, 100, 50)
    assert data.facts.classes[:3] == ("zero", "one", "two")


@pytest.mark.parametrize("settings", [{"crop": 1.0}, {"crop": 0.4}, {"augment": "rand-m9-n2"}])
def test_images_lie_channel_by_channel(settings: dict[str, object]) -> None:
    recipe = Recipe(images=64, batch=32, **settings)  # type: ignore[arg-type]
    data = open_data(recipe, size=(8, 8))
    images, _ = next(batches(data, recipe, torch.Generator().manual_seed(0)).epoch())
    assert images.stride() == (64, 64, 8, 1)
