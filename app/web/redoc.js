// Starts Redoc with this service's own description. Its search is off: it would run code from a
// blob, which the policy of this page forbids. Nothing on this page leaves the service.
window.addEventListener("DOMContentLoaded", () => {
  Redoc.init(
    "openapi.json",
    { disableSearch: true, sanitize: true, hideDownloadButton: false },
    document.getElementById("redoc"),
  );
});
