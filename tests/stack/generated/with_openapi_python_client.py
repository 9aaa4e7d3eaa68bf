"""Certifies an image with the client that openapi-python-client made; prints the certificate.

Arguments: address, image file, model.
"""

import json
import sys
import time
from io import BytesIO
from pathlib import Path

from promptsmooth_service_client import Client
from promptsmooth_service_client.api.certifications import get_certification
from promptsmooth_service_client.api.certify import certify
from promptsmooth_service_client.models import (
    CertifiedByStaged,
    CertifyForm,
    FinishedCertification,
    ProblemDocument,
    QueuedCertification,
    RunningCertification,
)
from promptsmooth_service_client.types import File

url, image, model = sys.argv[1:]
client = Client(base_url=url, raise_on_unexpected_status=True)
form = CertifyForm(
    image=[File(payload=BytesIO(Path(image).read_bytes()), file_name="image")],
    sigma=["0.25"],
    model=model,
    n_max=500,
)
job = certify.sync(client=client, body=form)
assert isinstance(job, QueuedCertification | RunningCertification | FinishedCertification), job
while not isinstance(job, FinishedCertification):
    time.sleep(0.2)
    job = get_certification.sync(job.id, client=client)
(certificate,) = job.certificates
assert isinstance(certificate, CertifiedByStaged)

refused = certify.sync(client=client, body=CertifyForm(image=form.image, sigma=["-1"]))
assert isinstance(refused, ProblemDocument), refused
found = {"radius": certificate.radius, "prediction": certificate.prediction}
print(json.dumps({"id": job.id, **found, "refusal": refused.code}))
