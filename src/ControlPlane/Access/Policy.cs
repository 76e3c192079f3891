namespace FedRLora.ControlPlane.Access;

/// <summary>What a route asks of whoever calls it.</summary>
public enum Policy
{
    /// <summary>Nothing: probes.</summary>
    Anyone,

    /// <summary>To see runs: a viewer, an operator or an administrator of a site.</summary>
    View,

    /// <summary>To begin, steer and end runs: an operator.</summary>
    Operate,

    /// <summary>To read what belongs to the site of the route's client: whoever may read that site.</summary>
    ReadSite,
}
