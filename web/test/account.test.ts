import { describe, expect, it } from "vitest";
import type { Role } from "../src/api/session";
import { scopesFor } from "../src/api/tokens";
import { placesFor } from "../src/components/header";
import { homeOf } from "../src/pages/sign_in";

describe("roles", () => {
  const pages = (role: Role | null) => placesFor(role && { name: "ada", role }).map((place) => place.page);

  it("are led to the pages they can use", () => {
    expect(pages(null)).toEqual(["index", "studio"]);
    expect(pages("viewer")).toEqual(["index"]);
    expect(pages("streamer")).toEqual(["index", "studio"]);
    expect(pages("admin")).toEqual(["index", "studio", "dashboard"]);
  });

  it("come to a page of their own after signing in", () => {
    expect(homeOf("viewer")).toBe("/");
    expect(homeOf("streamer")).toBe("/studio");
  });

  it("are never offered tokens that may more than they do", () => {
    const scopes = (role: Role) => scopesFor(role).map(({ value }) => value);
    expect(scopes("viewer")).toEqual(["read"]);
    expect(scopes("streamer")).toEqual(["read", "streams", "webhooks"]);
    expect(scopes("admin")).toContain("admin");
  });
});
