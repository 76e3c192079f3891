using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Pki;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;
using Microsoft.Extensions.Logging;

namespace FedRLora.ControlPlane.Http;

/// <summary>
/// TLS of a control plane: the certificate that is in force at each handshake, with what its file has after it; a client's certificate is
/// judged where one is shown, at the handshake and for as long as the connection lasts. Nothing is taken up from a session before.
/// </summary>
/// <param name="identity">The certificate, and the judge.</param>
/// <param name="connections">Connections of clients that showed one.</param>
/// <param name="log">Where refusals are told.</param>
internal sealed partial class ControlTls(TlsIdentity identity, OpenConnections connections, ILogger<ControlTls> log)
{
    private static readonly TimeSpan HandshakeWithin = TimeSpan.FromSeconds(10);

    /// <summary>Has what is listened to speak TLS.</summary>
    public void Use(ListenOptions listen)
    {
        listen.UseHttps(new TlsHandshakeCallbackOptions
        {
            HandshakeTimeout = HandshakeWithin, OnConnection = context => ValueTask.FromResult(Options(context.Connection)),
        });
        listen.Use(next => connection => KeepAsync(connection, next));
    }

    private SslServerAuthenticationOptions Options(BaseConnectionContext connection) => new()
    {
        ServerCertificateContext = identity.Chain, EnabledSslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13, AllowTlsResume = false,
        AllowRenegotiation = false, CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
        CertificateChainPolicy = identity.Policy(CertificateUse.Client), // else what strangers show would have issuers fetched
        ClientCertificateRequired = true, // asks for one; whether one has to come is for the callback
        RemoteCertificateValidationCallback = (_, shown, chain, _) =>
        {
            if (shown is not X509Certificate2 certificate) return true; // a token may come yet
            var sent = chain?.ChainPolicy.ExtraStore ?? [];
            if (identity.Refusal(certificate, sent, CertificateUse.Client) is not { } refusal)
            {
                connection.Features.Set(SentChain.Of(sent));
                return true;
            }

            LogRefused(log, $"{connection.RemoteEndPoint}", certificate.Subject, refusal);
            return false;
        },
    };

    private async Task KeepAsync(ConnectionContext connection, ConnectionDelegate next)
    {
        if (connection.Features.Get<ITlsConnectionFeature>()?.ClientCertificate is not { } shown)
        {
            await next(connection);
            return;
        }

        // the stream's own goes with it, and this one may be looked at while the connection ends
        var kept = X509CertificateLoader.LoadCertificate(shown.RawData);
        var sent = connection.Features.Get<SentChain>() ?? SentChain.Nothing;
        using (connections.Add(kept, sent, CertificateUse.Client, $"control connection from {connection.RemoteEndPoint}", connection.Abort))
            await next(connection);
    }

    [LoggerMessage(721, LogLevel.Warning, "refused a client at {Address} with the certificate {Subject}: {Refusal}")]
    private static partial void LogRefused(ILogger log, string address, string subject, string refusal);
}
