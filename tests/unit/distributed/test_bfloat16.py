import pytest
import tensorflow as tf

from trainer.distributed import bfloat16


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512_bf16 amx_bf16 sse\n",
         "this CPU (AVX512_BF16, AMX_BF16)"),
        # It has such instructions, and was slower with them.
        ("vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512_bf16 sse\n", None),
        ("vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx512_bf16 sse\n",
         "this CPU (AVX512_BF16)"),
        ("Features\t: fp asimd bf16\n", "this CPU (BF16)"),
        ("flags\t\t: fpu avx2 avx512f\n", None),
        ("", None),
    ],
)  # fmt: skip
def test_a_cpu_says_what_it_has(text, found, tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert bfloat16.hardware([], path) == found


def test_a_machine_that_says_nothing_has_nothing(tmp_path):
    assert bfloat16.hardware([], tmp_path / "missing") is None


@pytest.mark.parametrize(
    ("capability", "found"), [((7, 5), None), ((8, 0), "Some GPU")]
)
def test_gpus_have_it_from_ampere_on(capability, found, monkeypatch):
    monkeypatch.setattr(
        tf.config.experimental,
        "get_device_details",
        lambda gpu: {
            "compute_capability": capability,
            "device_name": "Some GPU",
        },
    )
    assert bfloat16.hardware(["GPU:0"]) == found
