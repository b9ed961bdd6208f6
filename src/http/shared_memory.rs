//! Triton's shared memory extensions as far as they can be answered where no
//! region is ever registered; that one can't be says [`super::not_offered`].

use actix_web::HttpResponse;

/// `GET /v2/{kind}sharedmemory[/region/{region}]/status`: there are none.
pub(super) async fn status() -> HttpResponse {
    HttpResponse::Ok().json([(); 0])
}

/// `POST /v2/{kind}sharedmemory[/region/{region}]/unregister`: as with Triton, a
/// region that isn't registered is no error.
pub(super) async fn unregister() -> HttpResponse {
    HttpResponse::Ok().finish()
}
