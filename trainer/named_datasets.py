"""The datasets that are known by name: what each is, and where it is had.

One entry of `NAMED` is all that the package knows of a dataset: the choices
of `--dataset`, the downloads, the checks, the names of the classes and the
sizes that `vae-submit` knows follow from it.
"""

import dataclasses
import hashlib


@dataclasses.dataclass(frozen=True)
class PublishedFile:
    """A file as it is published. One of its checksums is known at least.

    Attributes:
        bytes: int, its size as it is downloaded.
        sha256: str, of the file as it is downloaded.
        md5: str, of what is in it, decompressed; empty where only the file as
            it is downloaded can be checked.
    """

    bytes: int
    sha256: str = ""
    md5: str = ""

    def fault_of(self, stored, content):
        """Returns what is wrong with the checksum of a file, or None.

        Args:
            stored: bytes of the file.
            content: bytes, decompressed.
        """
        if self.md5:
            what, expected = "MD5 of the decompressed file", self.md5
            found = hashlib.md5(content).hexdigest()
        else:
            what, expected = "SHA-256", self.sha256
            found = hashlib.sha256(stored).hexdigest()
        if found == expected:
            return None
        return (
            f"has the wrong checksum ({what}: found {found}, expected "
            f"{expected})"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class NamedDataset:
    """A dataset that is known by name: IDX files, or one archive.

    Attributes:
        title: str, what people call it.
        image_shape: tuple of int, (height, width, channels).
        train_examples: int, how many training images it has.
        test_examples: int, how many test images.
        url: str, the folder of the files on the web.
        folder: str, where they are kept in Keras's folder of datasets; empty
            for that folder itself.
        files: dict of `PublishedFile` by name. That of an IDX file has no
            `.gz`, with which it is downloaded.
        classes: tuple of str, by label; empty where the labels are their own
            names, or the archive has names for them.
        npz: dict of one `PublishedFile` by name: a file of Keras that holds
            the same images; empty where there is none.
        members: dict of MD5 by name of the files in the archive, by which a
            job knows the dataset again; empty for IDX files.
        unpacked: tuple of str, folders in which Keras and others keep the
            members.
        licence: str, that its publisher states; empty where none is known.
    """

    title: str
    image_shape: tuple[int, int, int]
    train_examples: int
    test_examples: int
    url: str
    folder: str
    files: dict[str, PublishedFile]
    classes: tuple[str, ...] = ()
    npz: dict[str, PublishedFile] = dataclasses.field(default_factory=dict)
    members: dict[str, str] = dataclasses.field(default_factory=dict)
    unpacked: tuple[str, ...] = ()
    licence: str = ""

    @property
    def is_archive(self):
        """Whether it is one archive; else it is IDX files."""
        return bool(self.members)

    @property
    def most_bytes(self):
        """How many bytes of a file are read from a server at most.

        A mirror may pack an IDX file less well; an archive is as it is.
        """
        largest = max(file.bytes for file in self.files.values())
        return largest if self.is_archive else 4 * largest

    @property
    def names(self):
        """The names that its files may have in a folder."""
        if self.is_archive:
            return {*self.files}
        ends = ("", ".gz")
        idx = {f"{name}{end}" for name in self.files for end in ends}
        return idx | {*self.npz}


# What is trained on where nothing is asked for.
DEFAULT = "fashion_mnist"
NAMED = {
    # Checksums as published: https://github.com/zalandoresearch/fashion-mnist
    "fashion_mnist": NamedDataset(
        title="Fashion-MNIST",
        image_shape=(28, 28, 1),
        train_examples=60_000,
        test_examples=10_000,
        url="https://storage.googleapis.com/tensorflow/tf-keras-datasets",
        folder="fashion-mnist",
        files={
            "train-images-idx3-ubyte": PublishedFile(
                26_421_880, md5="f4a8712d7a061bf5bd6d2ca38dc4d50a"
            ),
            "train-labels-idx1-ubyte": PublishedFile(
                29_515, md5="9018921c3c673c538a1fc5bad174d6f9"
            ),
            "t10k-images-idx3-ubyte": PublishedFile(
                4_422_102, md5="8181f5470baa50b63fa0f6fddb340f0a"
            ),
            "t10k-labels-idx1-ubyte": PublishedFile(
                5_148, md5="15d484375f8d13e6eb1aabb0c3f46965"
            ),
        },
        classes=(
            *("T-shirt", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        licence="MIT",
    ),
    # http://yann.lecun.com/exdb/mnist/; mnist.npz as in keras.datasets.mnist.
    "mnist": NamedDataset(
        title="MNIST",
        image_shape=(28, 28, 1),
        train_examples=60_000,
        test_examples=10_000,
        url="https://storage.googleapis.com/cvdf-datasets/mnist",
        folder="mnist",
        files={
            "train-images-idx3-ubyte": PublishedFile(
                9_912_422, md5="6bbc9ace898e44ae57da46a324031adb"
            ),
            "train-labels-idx1-ubyte": PublishedFile(
                28_881, md5="a25bea736e30d166cdddb491f175f624"
            ),
            "t10k-images-idx3-ubyte": PublishedFile(
                1_648_877, md5="2646ac647ad5339dbf082846283269ea"
            ),
            "t10k-labels-idx1-ubyte": PublishedFile(
                4_542, md5="27ae3e4e09519cfbb04c329615203637"
            ),
        },
        npz={
            "mnist.npz": PublishedFile(
                11_490_434,
                "731c5ac602752760c8e48fbffcf8c3b8"
                "50d9dc2a2aedcf2cc48468fc17b673d1",
            )
        },
    ),
    # https://github.com/rois-codh/kmnist; of its files the checksums are
    # published as they are downloaded, not decompressed.
    "kmnist": NamedDataset(
        title="Kuzushiji-MNIST",
        image_shape=(28, 28, 1),
        train_examples=60_000,
        test_examples=10_000,
        url="https://codh.rois.ac.jp/kmnist/dataset/kmnist",
        folder="kmnist",
        files={
            "train-images-idx3-ubyte": PublishedFile(
                18_165_135,
                "51467d22d8cc72929e2a028a0428f208"
                "6b092bb31cfb79c69cc0a90ce135fde4",
            ),
            "train-labels-idx1-ubyte": PublishedFile(
                29_497,
                "e38f9ebcd0f3ebcdec7fc8eabdcdaef9"
                "3bb0df8ea12bee65224341c8183d8e17",
            ),
            "t10k-images-idx3-ubyte": PublishedFile(
                3_041_136,
                "edd7a857845ad6bb1d0ba43fe7e794d1"
                "64fe2dce499a1694695a792adfac43c5",
            ),
            "t10k-labels-idx1-ubyte": PublishedFile(
                5_120,
                "20bb9a0ef54c7db3efc55a92eef5582c"
                "109615df22683c380526788f98e42a1c",
            ),
        },
        classes=(
            *("o", "ki", "su", "tsu", "na"),
            *("ha", "ma", "ya", "re", "wo"),
        ),
        licence="CC BY-SA 4.0",
    ),
    # https://www.cs.toronto.edu/~kriz/cifar.html; the SHA-256 as in
    # keras.datasets.cifar10, the MD5s as in torchvision.datasets.CIFAR10.
    "cifar10": NamedDataset(
        title="CIFAR-10",
        image_shape=(32, 32, 3),
        train_examples=50_000,
        test_examples=10_000,
        url="https://www.cs.toronto.edu/~kriz",
        folder="",
        files={
            "cifar-10-python.tar.gz": PublishedFile(
                170_498_071,
                "6d958be074577803d12ecdefd02955f3"
                "9262c83c16fe9348329d7fe0b5c001ce",
            )
        },
        members={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
            "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
        },
        unpacked=(
            "cifar-10-batches-py",
            "cifar-10-batches-py-target/cifar-10-batches-py",
        ),
    ),
}
