// Starts Swagger UI with this service's own description. The external validator is off, because
// nothing on this page may leave the service.

// Swagger UI makes up a value for every field of a form. What has neither example nor default stays
// empty here and is left out, so that a form can be sent as it is filled in. A list of files keeps
// its first chooser. No field may be sent empty, so that choice is not offered.
const leaveEmpty = () => ({
  afterLoad({ fn }) {
    const sample = fn.getSampleSchema;
    this.fn.getSampleSchema = (schema, type, ...more) => {
      const field = (schema?.toJS ? schema.toJS() : schema) ?? {};
      const given = ["example", "examples", "default"].some((name) => name in field);
      const files = field.items?.format === "binary";
      if (type !== false || given || files) return sample(schema, type, ...more);
      return field.type === "array" ? [] : "";
    };
  },
  wrapComponents: { ParameterIncludeEmpty: () => () => null },
});

window.addEventListener("DOMContentLoaded", () => {
  SwaggerUIBundle({
    url: "openapi.json",
    dom_id: "#swagger-ui",
    validatorUrl: null,
    deepLinking: true,
    displayRequestDuration: true,
    presets: [SwaggerUIBundle.presets.apis],
    plugins: [leaveEmpty],
    layout: "BaseLayout",
  });
});
