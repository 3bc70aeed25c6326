//! `#[derive(Args)]`, which derives nothing: the models set the options themselves.

use proc_macro::TokenStream;

#[proc_macro_derive(Args, attributes(arg))]
pub fn args(_: TokenStream) -> TokenStream {
    TokenStream::new()
}
