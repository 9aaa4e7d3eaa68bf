// Certificates in groups: those of one label set and prompting, and the best among them.

import { length, targetName } from "../elements/words.js";
import { say } from "../strings/say.js";

/** Certificates of one label set and prompting, by noise level. @param {any[]} certificates */
export function groupTargets(certificates) {
  /** @type {Map<string, any[]>} */
  const groups = new Map();
  for (const one of certificates) {
    const start = one.started_from?.sha256 ?? (one.adaptation ? "" : one.prompt?.sha256);
    const bank = one.routing?.bank;
    const key = JSON.stringify([one.prompting, one.template, start, bank, one.class_names]);
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  return [...groups.values()].map((group) => group.sort((a, b) => a.sigma - b.sigma));
}

/** The one with the largest radius. One for a frozen prompt covers less, so it never displaces one that covers more.
 * @param {any[]} certificates @returns {any | null} */
export function largest(certificates) {
  const claims = certificates.filter((c) => c.outcome === "certified");
  const whole = claims.filter((c) => c.guarantee_scope !== "frozen_prompt");
  const certified = whole.length > 0 ? whole : claims;
  return certified.reduce((best, c) => (best && best.radius >= c.radius ? best : c), null);
}

/** A radius to choose. @param {any} certificate @param {boolean} several whether there are several wordings */
export function radiusName(certificate, several) {
  const { radius, sigma } = certificate;
  return say(several ? "radius.of_wording" : "radius.at", { radius: length(radius), sigma, wording: targetName(certificate) });
}
