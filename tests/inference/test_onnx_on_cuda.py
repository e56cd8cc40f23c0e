"""ONNX models on a GPU that does not exist: the device that onnxruntime is asked for, and what is said without one."""

from pathlib import Path
from typing import Any

import onnxruntime
import polars as pl
import pytest

from sequifier.errors import ModelError
from tests.support.trained_shop import infer, model

CUDA = "CUDAExecutionProvider"
DATA = {"data_path": "data/shop-split0.parquet"}


class OnnxruntimeWithCuda:
    """onnxruntime with a GPU: it computes on the CPU, but reports what it was asked for.

    Attributes:
        asked: providers with their options, of each session.
        works: False: the libraries of CUDA are missing, and a session goes on without them.
        error: raised where a session is asked for CUDA.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[list[Any]] = []
        self.works = True
        self.error: Exception | None = None
        real = onnxruntime.InferenceSession
        outer = self

        class Session:
            def __init__(self, path: str, options: Any, *, providers: list[Any], enable_fallback: int = 1) -> None:
                outer.asked.append(providers)
                self.is_on_cuda = len(providers) > 1 and outer.works
                if len(providers) > 1:
                    assert not enable_fallback, "onnxruntime would repeat on the CPU, and print that to stdout"
                    if outer.error is not None:
                        raise outer.error
                self.session = real(path, options, providers=["CPUExecutionProvider"])
                self.run = self.session.run

            def get_providers(self) -> list[str]:
                return [*([CUDA] if self.is_on_cuda else []), "CPUExecutionProvider"]

        monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
        monkeypatch.setattr(
            onnxruntime, "preload_dlls", lambda: print("Failed to load libcudnn.so.9: no such file"), raising=False
        )


@pytest.fixture
def with_cuda(monkeypatch: pytest.MonkeyPatch) -> OnnxruntimeWithCuda:
    return OnnxruntimeWithCuda(monkeypatch)


@pytest.mark.parametrize(("device", "number"), [("cuda", 0), ("cuda:1", 1), ("auto", 0)])
def test_a_gpu_computes_without_tf32(
    device: str, number: int, trained: Path, with_cuda: OnnxruntimeWithCuda, capfd: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []
    infer(model("one"), lines, device=device, **DATA)
    assert with_cuda.asked == [[(CUDA, {"device_id": number, "use_tf32": 0}), "CPUExecutionProvider"]]
    said = [line for line in lines if "cuda" in line or "CPU" in line]
    untested = ["note: device auto chose cuda, which has not been tested with this version yet"]
    assert said == (untested if device == "auto" else [])
    assert capfd.readouterr().out == ""


def test_a_gpu_without_its_libraries_is_an_error_if_it_was_asked_for(
    trained: Path, with_cuda: OnnxruntimeWithCuda
) -> None:
    with_cuda.works = False
    with pytest.raises(ModelError, match=r"device cuda cannot be used: Failed to load libcudnn\.so\.9") as caught:
        infer(model("one"), device="cuda", **DATA)
    assert "device: cpu" in str(caught.value)
    with_cuda.error = RuntimeError("CUDA failure 100: no CUDA-capable device is detected")
    with pytest.raises(ModelError, match="device cuda:1 cannot be used: CUDA failure 100"):
        infer(model("one"), device="cuda:1", **DATA)


@pytest.mark.parametrize("error", [None, RuntimeError("CUDA failure 100: no CUDA-capable device is detected")])
def test_auto_falls_back_to_the_cpu_and_says_so(
    error: Exception | None, trained: Path, with_cuda: OnnxruntimeWithCuda
) -> None:
    (on_cpu,) = infer(model("one"), device="cpu", **DATA)
    expected = pl.read_csv(on_cpu.predictions)
    with_cuda.works, with_cuda.error = False, error
    lines: list[str] = []
    (result,) = infer(model("one"), lines, device="auto", **DATA)
    assert pl.read_csv(result.predictions).equals(expected)
    reason = "Failed to load libcudnn.so.9: no such file" if error is None else str(error)
    name = Path(model("one")).name
    assert f"note: {name} runs on the CPU, because onnxruntime cannot use cuda: {reason}" in lines
    assert with_cuda.asked[-1] == ["CPUExecutionProvider"]


def test_the_cpu_asks_for_no_gpu_and_mps_is_reported_to_be_missing(
    trained: Path, with_cuda: OnnxruntimeWithCuda
) -> None:
    lines: list[str] = []
    infer(model("one"), lines, device="mps", **DATA)
    infer(model("one"), lines, device="cpu", **DATA)
    assert with_cuda.asked == [["CPUExecutionProvider"]] * 2
    assert [line for line in lines if "mps" in line] == [
        f"note: {Path(model('one')).name} runs on the CPU: onnxruntime does not have the device mps"
    ]


def test_cuda_is_an_error_where_onnxruntime_was_built_without_it(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ModelError, match="device cuda cannot be used: this onnxruntime was built without CUDA"):
        infer(model("one"), device="cuda", **DATA)
