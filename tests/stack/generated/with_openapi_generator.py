"""Certifies an image with the client that openapi-generator made; prints the certificate.

Arguments: address, image file, model.
"""

import json
import sys
import time
from pathlib import Path

from openapi_client import ApiClient, ApiException, CertificationsApi, CertifyApi, Configuration
from openapi_client.models import CertifiedByStaged, FinishedCertification

url, image, model = sys.argv[1:]
with ApiClient(Configuration(host=url)) as client:
    content = Path(image).read_bytes()
    sent = CertifyApi(client).certify(image=[content], sigma=["0.25"], model=model, n_max=500)
    job = sent.actual_instance.actual_instance
    while not isinstance(job, FinishedCertification):
        time.sleep(0.2)
        job = CertificationsApi(client).get_certification(job.id).actual_instance
    certificate = job.certificates[0].actual_instance
    assert isinstance(certificate, CertifiedByStaged), certificate
    try:
        CertifyApi(client).certify(image=[content], sigma=["12345"])
    except ApiException as error:
        refusal = error.data.code
found = {"radius": certificate.radius, "prediction": certificate.prediction}
print(json.dumps({"id": job.id, **found, "refusal": refusal}))
