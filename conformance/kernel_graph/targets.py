"""The built-in kernels: their names, the classes that they document, and what must be installed for them."""

from __future__ import annotations

from assay.conformance.interface.targets import Target, lazily

__all__ = ["TARGETS"]

_DOUBLE = ("float64", "float32")
_EXPANSION = ("float64-expansion", "float32-expansion")


def _numpy(
    name: str, function: str, precisions: tuple[str, ...], *arguments: object, needed: str = "scipy", extra: str = "cpu"
) -> Target:
    load = lazily(f"{__package__}.target_numpy", function, name, *arguments)
    return Target(name, precisions, tuple(needed.split()), extra, load)


def _torch(
    name: str, function: str, precisions: tuple[str, ...], *arguments: object, needed: str = "", extra: str = "torch"
) -> Target:
    load = lazily(f"{__package__}.target_torch", function, name, *arguments)
    return Target(
        name, precisions, ("torch", *needed.split()) if extra == "torch" else tuple(needed.split()), extra, load
    )


def _cupy(name: str, precisions: tuple[str, ...], function: str, *arguments: object) -> Target:
    load = lazily(f"{__package__}.target_cupy", function, *arguments)
    return Target(name, precisions, ("cupy",), "gpu", load, cuda=True)


def _finufft(name: str, error: float) -> Target:
    load = lazily(f"{__package__}.target_finufft", "gauss", name, error)
    return Target(name, (), ("finufft",), "graphs", load)


#: name → target.  Where no class is listed, or fewer than a library has types, docs/findings.md tells why.
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        _numpy("assay:cpu", "cpu_exact", _DOUBLE, needed="numba scipy"),
        _numpy("assay:cpu-multiply", "cpu_route", _DOUBLE, None, 1e-6, needed="numba scipy"),
        _numpy("assay:cpu-grid", "cpu_route", ("float64",), "grid", 1e-8, "gaussian", needed="numba scipy"),
        _numpy("assay:cpu-polynomial", "cpu_route", (), "polynomial", 1e-6, needed="numba scipy"),
        _cupy("cupy:kernel_graph", _DOUBLE, "built_in"),
        _cupy("cupy:kernel_graph-multiply", (), "certified", "cupy:kernel_graph-multiply", None),
        _cupy("cupy:kernel_graph-polynomial", (), "certified", "cupy:kernel_graph-polynomial", "polynomial"),
        _numpy("numpy:differences", "numpy_differences", _DOUBLE, needed=""),
        _numpy("scipy:cdist", "scipy_distances", _DOUBLE),
        _numpy("scipy:csgraph", "scipy_csgraph", _DOUBLE),
        _numpy(
            "sklearn:rbf_kernel", "rbf_kernel", ("float64-expansion", "float32"), needed="sklearn", extra="documents"
        ),
        _numpy("sklearn:gaussian_process", "gaussian_process", _DOUBLE, needed="sklearn", extra="documents"),
        _torch("torch:cdist", "cdist", _EXPANSION, "use_mm_for_euclid_dist_if_necessary"),
        _torch("torch:cdist-mm", "cdist", _EXPANSION, "use_mm_for_euclid_dist"),
        _torch("torch:cdist-differences", "cdist", _DOUBLE, "donot_use_mm_for_euclid_dist"),
        _torch("gpytorch:kernels", "gpytorch", _EXPANSION, needed="torch gpytorch", extra="graph-peers"),
        _torch("pykeops:lazy_tensor", "keops", _DOUBLE, needed="pykeops", extra="graph-peers"),
        _finufft("finufft:gauss-1e-12", 1e-12),
        _finufft("finufft:gauss-1e-6", 1e-6),
        _finufft("finufft:gauss-1e-5", 1e-5),
    )
}
