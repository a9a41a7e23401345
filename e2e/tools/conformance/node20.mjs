// The suite imports fs.globSync, which came with Node 22, for a command that is not run here. With this, Node 20 runs it too.
import { register } from "node:module";

const module = (code) => `data:text/javascript,${encodeURIComponent(code)}`;
const fs = module(`
  export * from "node:fs";
  export const globSync = () => { throw new Error("fs.globSync is not there"); };
`);
register(module(`
  export const resolve = (specifier, context, next) =>
    specifier === "fs" && context.parentURL?.includes("/conformance/dist/")
      ? { url: ${JSON.stringify(fs)}, shortCircuit: true }
      : next(specifier, context);
`));
