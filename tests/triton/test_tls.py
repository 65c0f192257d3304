"""gRPC over TLS, with a certificate of our own authority."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from guardkit.artifacts import RunnerOptions, Tls, Triton, find_artifact
from guardkit.errors import BackendError
from guardkit.runtime.base import open_runner, warm_inputs
from tests.triton.server import TritonServer


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    issued.private_key_pem.write_to_path(tmp_path / "server.key")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "stranger.pem")
    return authority


@pytest.mark.usefixtures("authority")
def test_a_server_is_believed_by_its_certificate_alone(repository: Path, tmp_path: Path) -> None:
    server = TritonServer(
        repository / "models",
        tmp_path,
        "--cache-config=local,size=1048576",
        "--grpc-use-ssl=1",
        f"--grpc-server-cert={tmp_path / 'server.pem'}",
        f"--grpc-server-key={tmp_path / 'server.key'}",
    )
    server.start()
    artifact = find_artifact("text-safety")

    def options(ca: str) -> RunnerOptions:
        triton = Triton(url=server.grpc, tls=Tls(ca=str(tmp_path / ca)), retries=0)
        return RunnerOptions(backend="triton", triton=triton)

    try:
        runner = open_runner(artifact, options("ca.pem"))
        assert runner.run(warm_inputs(artifact.manifest))["logits"].shape[1] == 12
        with pytest.raises(BackendError):
            open_runner(artifact, options("stranger.pem"))
    finally:
        server.kill()
