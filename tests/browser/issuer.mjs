// An OpenID Connect issuer for tests: anybody signs in with a name, and the name has groups.
//   node issuer.mjs PORT REDIRECT_URI AUDIENCE, where oidc-provider is installed
import Provider from "oidc-provider";

const [port, redirectUri, audience] = process.argv.slice(2);
const GROUPS = { ann: ["laboratory"], bob: ["canteen"], program: ["laboratory"] };
const groupsOf = (name) => GROUPS[name] ?? [];

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "page",
      token_endpoint_auth_method: "none",
      redirect_uris: [redirectUri],
      grant_types: ["authorization_code"],
      response_types: ["code"],
    },
    {
      client_id: "program",
      client_secret: "of-the-program",
      redirect_uris: [],
      grant_types: ["client_credentials"],
      response_types: [],
    },
  ],
  cookies: { keys: ["of-a-test"] },
  features: {
    devInteractions: { enabled: true },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({ scope: "certify", audience, accessTokenFormat: "jwt" }),
    },
  },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, groups: groupsOf(id) }) }),
  extraTokenClaims: (_, token) => ({ groups: groupsOf(token.accountId ?? token.clientId) }),
});
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
