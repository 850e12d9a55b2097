"""The persistent compilation cache: where it lies, and when it is left alone."""

import os
import subprocess
import sys
import textwrap

import jax
import pytest

from skillrl.parallel import compile_cache


@pytest.fixture(autouse=True)
def restored():
    """JAX's settings as they were."""
    names = (
        "jax_compilation_cache_dir",
        "jax_enable_compilation_cache",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    )
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_enable_compilation_cache", True)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_lies_in_the_users_cache_where_nobody_else_may_write(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new"))
    before = os.umask(0o002)
    try:
        path = compile_cache.enable()
    finally:
        os.umask(before)
    # A base that the umask lets a group write to is refused, its folders notwithstanding.
    assert path is None
    (tmp_path / "new").chmod(0o755)
    path = compile_cache.enable()
    assert path.parent == tmp_path / "new" / "skillrl" / "xla"
    assert jax.config.jax_compilation_cache_dir == str(path)
    assert {p.stat().st_mode & 0o777 for p in (path, path.parent, path.parent.parent)} == {0o700}


@pytest.mark.parametrize("name", ["", "skillrl", "skillrl/xla"])
def test_a_folder_that_others_may_write_to_is_never_used(tmp_path, monkeypatch, caplog, name):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / name
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)
    assert compile_cache.enable() is None
    assert jax.config.jax_compilation_cache_dir is None
    assert f"chmod go-w {folder}" in caplog.text


def test_a_place_that_cannot_be_made_is_a_warning(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert compile_cache.enable() is None
    assert "not kept between runs" in caplog.text


def test_what_the_user_set_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jax.config.update("jax_compilation_cache_dir", "/somewhere/else")
    assert compile_cache.enable() is None
    assert jax.config.jax_compilation_cache_dir == "/somewhere/else"
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_enable_compilation_cache", False)
    assert compile_cache.enable() is None
    assert not list(tmp_path.iterdir())


def test_a_second_process_compiles_nothing_anew(tmp_path):
    program = textwrap.dedent("""
        import logging, sys
        import jax, jax.numpy as jnp
        from skillrl.parallel import compile_cache
        compile_cache.SECONDS = 0
        compile_cache.enable()
        hits = []
        jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
        jax.jit(lambda x: jnp.sin(x) @ x.T)(jnp.ones((8, 8))).block_until_ready()
        print(hits.count("/jax/compilation_cache/cache_hits"),
              hits.count("/jax/compilation_cache/cache_misses"))
    """)
    environment = {
        name: value for name, value in os.environ.items() if "COMPILATION_CACHE" not in name
    }
    environment["XDG_CACHE_HOME"] = str(tmp_path)

    def run():
        out = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True
        )
        assert out.returncode == 0, out.stderr
        return [int(n) for n in out.stdout.split()]

    hits, misses = run()
    assert hits == 0
    assert misses > 0
    assert run() == [misses, 0]
