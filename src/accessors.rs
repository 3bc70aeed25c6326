//! Access to the inner service, the same for every service of this crate.

/// Defines `get_ref`, `get_mut` and `into_inner` for a service that has a field `inner: S`.
macro_rules! define_inner_service_accessors {
    () => {
        /// Returns a reference to the inner service.
        pub fn get_ref(&self) -> &S {
            &self.inner
        }

        /// Returns a mutable reference to the inner service.
        pub fn get_mut(&mut self) -> &mut S {
            &mut self.inner
        }

        /// Returns the inner service and drops this one.
        pub fn into_inner(self) -> S {
            self.inner
        }
    };
}
pub(crate) use define_inner_service_accessors;

#[cfg(test)]
mod tests {
    use crate::{
        auth::VertexAuth,
        compat::VertexCompat,
        error_format::VertexError,
        model::{ModelTable, VertexModel},
        retry::VertexRetry,
        route::{Upstream, VertexRoute},
        token::StaticToken,
    };

    #[test]
    fn every_service_is_made_by_new_and_gives_its_inner_service_back() {
        let upstream = Upstream::new("project", "global").unwrap();
        let table = ModelTable::builder(upstream.clone()).build().unwrap();
        let auth = VertexAuth::new(0, StaticToken::new("token").unwrap());
        let mut service = VertexModel::new(
            VertexCompat::new(VertexRetry::new(VertexError::new(VertexRoute::new(auth, upstream)))),
            table,
        );
        *service.get_mut().get_mut().get_mut().get_mut().get_mut().get_mut() += 1;
        assert_eq!(*service.get_ref().get_ref().get_ref().get_ref().get_ref().get_ref(), 1);
        let error = service.into_inner().into_inner().into_inner();
        assert_eq!(error.into_inner().into_inner().into_inner(), 1);
    }
}
