using System.Net;
using System.Net.Sockets;
using FedRLora.Abstractions;

namespace FedRLora.Client.Control;

/// <summary>Where a silo answers: scheme, host and port alone.</summary>
internal sealed class ServerAddress
{
    /// <summary>Of the first silo of a machine.</summary>
    public const string Default = "http://127.0.0.1:8470";

    /// <summary>How long a connection may take.</summary>
    public static readonly TimeSpan ConnectWithin = TimeSpan.FromSeconds(5);
    private readonly Uri _uri;

    private ServerAddress(Uri uri, bool isLoopback) => (_uri, IsLoopback) = (uri, isLoopback);

    /// <summary>Whether nothing that is sent there leaves the machine.</summary>
    public bool IsLoopback { get; }

    /// <summary>Whether it is reached over TLS.</summary>
    public bool IsSecure => _uri.Scheme == "https";

    /// <summary>The port.</summary>
    public int Port => _uri.Port;

    /// <summary>The address of a path below it.</summary>
    public Uri Of(string path) => new(_uri, path);

    /// <inheritdoc/>
    public override string ToString() => _uri.GetLeftPart(UriPartial.Authority);

    /// <exception cref="BadInputException">It is no address, or a token would travel there in the clear.</exception>
    public static ServerAddress Parse(string text)
    {
        if (!Uri.TryCreate(text, UriKind.Absolute, out var uri) || uri.Scheme is not ("http" or "https") || uri.Host.Length == 0
            || text.Any(static c => char.IsControl(c) || char.IsWhiteSpace(c) || c == '\\'))
            throw new BadInputException($"--server: '{Plain(text)}' is no address of a silo; write for example {Default}");
        if (uri.UserInfo.Length > 0)
            throw new BadInputException("--server: an address with a name or password in it is not taken; a token is given as a file, "
                + "with --token-file");
        if (uri.PathAndQuery != "/" || uri.Fragment.Length > 0)
            throw new BadInputException($"--server: '{Plain(text)}' has more than scheme, host and port; write "
                + Plain(uri.GetLeftPart(UriPartial.Authority)));
        var isLoopback = uri.Host == "localhost" || IPAddress.TryParse(uri.Host.Trim('[', ']'), out var ip) && IPAddress.IsLoopback(ip);
        return isLoopback || uri.Scheme == "https"
            ? new(uri, isLoopback)
            : throw new BadInputException($"--server: {Plain(text)} is another machine over plain http, where anybody on the way could "
                + "read the token; use https, or a tunnel to a port of 127.0.0.1");
    }

    /// <summary>A connection; a name of this machine leads nowhere else, whatever a hosts file says.</summary>
    public async ValueTask<Stream> ConnectAsync(CancellationToken cancellationToken)
    {
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        enough.CancelAfter(ConnectWithin);
        try
        {
            if (_uri.Host == "localhost") await socket.ConnectAsync(IPAddress.Loopback, Port, enough.Token);
            else await socket.ConnectAsync(_uri.DnsSafeHost, Port, enough.Token);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch (OperationCanceledException e) when (!cancellationToken.IsCancellationRequested)
        {
            socket.Dispose();
            throw new SocketException((int)SocketError.TimedOut, e.Message);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private static string Plain(string text) => BadInputException.Shown(text);
}
