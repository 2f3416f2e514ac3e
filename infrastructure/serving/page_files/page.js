// Shows the OpenAPI document. validatorUrl is null, so that nothing is sent to another host.
SwaggerUIBundle({
  url: "docs.json",
  dom_id: "#api",
  presets: [SwaggerUIBundle.presets.apis],
  deepLinking: true,
  defaultModelsExpandDepth: -1,
  tryItOutEnabled: true,
  validatorUrl: null,
});
