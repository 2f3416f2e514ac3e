// Draws the OpenAPI document; nothing is sent to another host, so nobody validates it elsewhere.
SwaggerUIBundle({
  url: "docs.json",
  dom_id: "#api",
  presets: [SwaggerUIBundle.presets.apis],
  deepLinking: true,
  defaultModelsExpandDepth: -1,
  tryItOutEnabled: true,
  validatorUrl: null,
});
