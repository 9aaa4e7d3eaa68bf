// Signing in at the organisation's own service: OpenID Connect, a code with PKCE (RFC 7636). The
// token stays in the memory of this tab, as a key does.

import { say } from "../strings/say.js";
import { ask, getJson } from "./http.js";
import { setKey } from "./key.js";

/** @typedef {{offered: boolean, authorization_endpoint: string, parameters: Record<string, string>}} Offer */

const KEPT = "sign-on"; // in this tab's storage while it is away: what proves that the answer is its own

/** Where to sign in; null where the service has no sign-on, or this address is not secure enough.
 * @returns {Promise<Offer | null>} */
export async function findOffer() {
  const found = await getJson("sign-on").catch(() => null);
  return found?.offered && crypto.subtle ? found : null;
}

/** Leaves for the issuer. @param {Offer} offer */
export async function leave(offer) {
  const verifier = random();
  const state = random();
  sessionStorage.setItem(KEPT, JSON.stringify({ verifier, state, hash: location.hash }));
  const address = new URL(offer.authorization_endpoint);
  const fields = {
    ...offer.parameters,
    redirect_uri: home(),
    state,
    code_challenge: await digest(verifier),
    code_challenge_method: "S256",
  };
  for (const [name, value] of Object.entries(fields)) address.searchParams.set(name, value);
  location.assign(address);
}

/** Takes the issuer's answer from the address, if there is one.
 * @returns {Promise<string>} why it signed nobody in; empty: it did, or there is none */
export async function comeBack() {
  const answer = new URLSearchParams(location.search);
  const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
  sessionStorage.removeItem(KEPT);
  if (!answer.has("state")) return "";
  history.replaceState(null, "", location.pathname + (kept?.hash ?? ""));
  if (kept?.state !== answer.get("state")) return say("sign_in.other_tab");
  const code = answer.get("code");
  if (!code) return say("sign_in.organisation_refused", { reason: reason(answer) });
  try {
    setKey(await exchange(code, kept.verifier));
    return "";
  } catch (error) {
    return /** @type {Error} */ (error).message;
  }
}

/** @param {string} code @param {string} verifier @returns {Promise<string>} the token */
async function exchange(code, verifier) {
  const body = JSON.stringify({ code, code_verifier: verifier, redirect_uri: home() });
  const headers = { "Content-Type": "application/json" };
  return (await (await ask("POST", "sign-on", { body, headers })).json()).token;
}

/** The address that the issuer sends people back to: the page's own. */
function home() {
  return location.origin + location.pathname;
}

/** @param {URLSearchParams} answer the error code of RFC 6749, 4.1.2.1, and nothing that is not one */
function reason(answer) {
  return /^[a-z_]{1,40}$/.exec(answer.get("error") ?? "")?.[0] ?? say("sign_in.no_reason");
}

function random() {
  return encode(crypto.getRandomValues(new Uint8Array(32)));
}

/** @param {string} text */
async function digest(text) {
  return encode(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))));
}

/** Base64 for addresses, without padding. @param {Uint8Array} bytes */
function encode(bytes) {
  return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}
