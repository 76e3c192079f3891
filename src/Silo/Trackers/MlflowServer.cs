using System.Net.Http.Headers;
using System.Text;
using FedRLora.Abstractions;

namespace FedRLora.Silo.Trackers;

/// <summary>
/// An MLflow tracking server, and what it is shown to be let in: from the environment alone, as MLflow's own programs have it.
/// </summary>
/// <param name="Address">Where it is, without a slash at the end.</param>
/// <param name="Experiment">The experiment for runs; null for the name of the plan.</param>
public sealed record MlflowServer(string Address, string? Experiment)
{
    /// <summary>Whether a run that is over and was never sent is sent too, as soon as its coordinator is asked for.</summary>
    public bool SendsFinished { get; init; }

    private const string
        Token = "MLFLOW_TRACKING_TOKEN", User = "MLFLOW_TRACKING_USERNAME", Password = "MLFLOW_TRACKING_PASSWORD",
        Name = "MLFLOW_EXPERIMENT_NAME";

    /// <summary>Reads an address, and from the environment the experiment.</summary>
    /// <exception cref="BadInputException">It is no address of a server, or holds what only the environment may.</exception>
    public static MlflowServer Parse(string address)
    {
        const string Form = "give the server's address, as http://localhost:5000";
        if (!Uri.TryCreate(address, UriKind.Absolute, out var uri) || uri.Scheme is not ("http" or "https") || uri.Host.Length == 0)
        {
            // a password may stand before the @
            var shown = address.Contains('@', StringComparison.Ordinal) ? "the value" : $"'{BadInputException.Shown(address)}'";
            throw new BadInputException($"--mlflow: {shown} is no address; {Form}");
        }

        if (uri.UserInfo.Length > 0)
            throw new BadInputException(
                $"--mlflow: a command line is no place for a password; {Form}, and set {Token}, or {User} and {Password}");
        if (uri.Query.Length > 0 || uri.Fragment.Length > 0)
            throw new BadInputException($"--mlflow: an address has no part after ? or #; {Form}");
        _ = Credentials();
        var experiment = Environment.GetEnvironmentVariable(Name);
        return new(uri.AbsoluteUri.TrimEnd('/'), string.IsNullOrWhiteSpace(experiment) ? null : experiment);
    }

    /// <summary>What a request shows; null where nothing is set.</summary>
    /// <exception cref="BadInputException">What is set cannot stand in a header.</exception>
    internal static AuthenticationHeaderValue? Credentials()
    {
        var (token, user) = (Environment.GetEnvironmentVariable(Token), Environment.GetEnvironmentVariable(User));
        if (!string.IsNullOrEmpty(token))
        {
            if (token.Any(static sign => sign is <= ' ' or > '~')) throw new BadInputException($"{Token}: has signs that no token has");
            return new("Bearer", token);
        }

        if (string.IsNullOrEmpty(user)) return null;
        var pair = $"{user}:{Environment.GetEnvironmentVariable(Password)}";
        return new("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes(pair)));
    }
}
