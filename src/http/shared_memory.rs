//! The part of Triton's shared memory extensions that can be answered without a
//! region. No region is ever registered: [`super::not_offered`] refuses that.

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
