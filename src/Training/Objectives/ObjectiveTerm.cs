using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Steps;
using static TorchSharp.torch;

namespace FedRLora.Training.Objectives;

/// <summary>
/// A term of what members that train side by side minimize, for one round. Every member has a loss of its own: nothing of a term depends
/// on who lies beside it. Its tensors live in the dispose scope in which it is made.
/// </summary>
internal abstract class ObjectiveTerm
{
    /// <summary>Adds the gradient of what it says of weights to that of a step, before that is clipped.</summary>
    /// <param name="members">The first of the stack, which step.</param>
    public virtual void AddGradients(int members)
    {
    }

    /// <summary>Whether <see cref="Correct"/> is asked for, which moves clipping in front of it.</summary>
    public virtual bool Corrects => false;

    /// <summary>Adds to a gradient that is clipped already.</summary>
    /// <param name="members">The first of the stack, which step.</param>
    public virtual void Correct(int members)
    {
    }

    /// <summary>A step was taken.</summary>
    /// <param name="learningRates">Of the first members of the stack.</param>
    /// <param name="headsOnly">Tensors of scope Job stayed as they were.</param>
    public virtual void Stepped(IReadOnlyList<double> learningRates, bool headsOnly)
    {
    }

    /// <summary>What it makes of the features of a layer; null for nothing.</summary>
    /// <param name="target">The layer.</param>
    /// <param name="first">Of the members in a pass.</param>
    /// <param name="count">How many they are.</param>
    public virtual IFeatureTerm? On(AdapterTarget target, int first, int count) => null;

    /// <summary>What a member has of it after the round.</summary>
    /// <param name="member">Its place in the stack.</param>
    /// <param name="update">What training changed, by tensor.</param>
    public virtual TermResult End(int member, AdapterState update) => TermResult.Nothing;
}

/// <summary>What a term has of a member after a round.</summary>
/// <param name="Statistics">What leaves the site beside the update; a declared vector that is not here is zero.</param>
/// <param name="Remembered">What stays with the client's optimizer state.</param>
internal sealed record TermResult(AdapterState Statistics, AdapterState Remembered)
{
    public static TermResult Nothing { get; } = new(AdapterState.Empty, AdapterState.Empty);
}

/// <summary>What a term makes of phi = A x, what comes down on a layer from the inputs of some members.</summary>
internal interface IFeatureTerm
{
    /// <summary>Sees the features of a pass, once.</summary>
    /// <param name="features"><c>[G, m, R]</c>.</param>
    /// <param name="rows">Which of them are real.</param>
    void See(Tensor features, MemberRows rows);

    /// <summary>
    /// What is added to the members' losses, in parts, each a number for each member; derived one after the other, so that no graph is
    /// larger than a part's.
    /// </summary>
    /// <inheritdoc cref="See" path="/param"/>
    IEnumerable<Tensor> Penalties(Tensor features, MemberRows rows);
}

/// <summary>Where a term is: a round and the members that train in it.</summary>
/// <param name="Plan">The plan.</param>
/// <param name="Shared">What all clients share, with the statistics of the round before.</param>
/// <param name="Stack">The members' tensors.</param>
/// <param name="Members">In the stack's order.</param>
internal sealed record TermRound(
    FederationPlan Plan, AdapterState Shared, AdapterStack Stack, IReadOnlyList<(ClientSpec Client, AdapterState Optimizer)> Members);
